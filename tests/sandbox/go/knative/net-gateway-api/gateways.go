// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/webhook/configmaps"
	"sigs.k8s.io/yaml"
)

const configName = "config-gateway"

// A gateway, and the Service of its proxies.
type gateway struct {
	name, service types.NamespacedName
}

// Gateways for requests from outside and from inside the cluster.
type gateways struct {
	external, local gateway
}

// newValidation refuses a ConfigMap that parseGateways cannot read.
func newValidation(ctx context.Context, _ configmap.Watcher) *controller.Impl {
	parse := configmap.Constructors{configName: parseGateways}
	return configmaps.NewAdmissionController(
		ctx, "config.webhook.gateway-api.networking.internal.knative.dev", "/config-validation", parse)
}

// parseGateways wants both entries and their Service: the real one has defaults for a Gateway of Istio's old chart.
func parseGateways(config *corev1.ConfigMap) (*gateways, error) {
	external, err := parseGateway(config.Data["external-gateways"])
	if err != nil {
		return nil, fmt.Errorf("external-gateways: %w", err)
	}
	local, err := parseGateway(config.Data["local-gateways"])
	if err != nil {
		return nil, fmt.Errorf("local-gateways: %w", err)
	}
	return &gateways{external, local}, nil
}

func parseGateway(text string) (gateway, error) {
	var entries []struct {
		Class, Gateway, Service string
	}
	if err := yaml.Unmarshal([]byte(text), &entries); err != nil {
		return gateway{}, err
	}
	if len(entries) != 1 || entries[0].Class == "" {
		return gateway{}, errors.New("one entry with a class is needed")
	}
	var parsed gateway
	return parsed, configmap.Parse(
		map[string]string{"gateway": entries[0].Gateway, "service": entries[0].Service},
		configmap.AsNamespacedName("gateway", &parsed.name),
		configmap.AsNamespacedName("service", &parsed.service),
	)
}
