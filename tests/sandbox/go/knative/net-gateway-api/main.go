// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command net-gateway-api stands in for Knative's networking layer of that name, which no Go module proxy serves: its
// first argument says whether it is the controller or the webhook. Reconciling, leader election, probing and the serving
// of the webhook are Knative's own code; what becomes of a route is written here.
package main

import (
	"log"
	"os"

	"knative.dev/pkg/injection/sharedmain"
	"knative.dev/pkg/signals"
	"knative.dev/pkg/webhook"
	"knative.dev/pkg/webhook/certificates"
)

func main() {
	command := ""
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	switch command {
	case "controller":
		sharedmain.Main("net-gateway-api-controller", newController)
	case "webhook":
		ctx := webhook.WithOptions(signals.NewContext(), webhook.Options{
			ServiceName: "net-gateway-api-webhook",
			SecretName:  "net-gateway-api-webhook-certs",
			Port:        webhook.PortFromEnv(8443),
		})
		ctx = sharedmain.WithHealthProbesDisabled(ctx)
		sharedmain.WebhookMainWithContext(ctx, "net-gateway-api-webhook", certificates.NewController, newValidation)
	default:
		log.Fatalf("%q must be one of controller, webhook", command)
	}
}
