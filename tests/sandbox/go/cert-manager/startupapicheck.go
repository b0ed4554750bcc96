// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/clientcmd"

	logf "github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/cert-manager/cert-manager/pkg/util"
	"github.com/cert-manager/cert-manager/pkg/util/cmapichecker"
)

const interval = 5 * time.Second

// runStartupAPICheck is `check api`: it succeeds once a dry-run CertificateRequest is changed by the mutating webhook
// and a wrong one refused by the validating one, seen through the API server.
func runStartupAPICheck(ctx context.Context, arguments []string) error {
	flags := pflag.NewFlagSet("startupapicheck", pflag.ContinueOnError)
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	var patience time.Duration
	flags.StringVar(&rules.ExplicitPath, "kubeconfig", "", "kubeconfig file; without it the pod's service account is used")
	flags.DurationVar(&patience, "wait", time.Minute, "how long to try")
	flags.CountP("v", "v", "without effect: every failed try is printed")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if !slices.Equal(flags.Args(), []string{"check", "api"}) {
		return fmt.Errorf("expected `check api`, got %q", flags.Args())
	}
	configuration := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{})
	// The pod's own namespace, which is where the chart's Role lets it make CertificateRequests.
	namespace, _, err := configuration.Namespace()
	if err != nil {
		return err
	}
	access, err := configuration.ClientConfig()
	if err != nil {
		return err
	}
	checker, err := cmapichecker.New(util.RestConfigWithUserAgent(access, "startupapicheck"), namespace)
	if err != nil {
		return err
	}
	return waitForAPI(ctx, checker, patience)
}

func waitForAPI(ctx context.Context, checker cmapichecker.Interface, patience time.Duration) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, interval, patience, true, func(ctx context.Context) (bool, error) {
		last = checker.Check(ctx)
		if last != nil {
			logf.Log.Info("not ready", "cause", cmapichecker.TranslateToSimpleError(last), "error", last.Error())
		}
		return last == nil, nil
	})
	if err != nil && last != nil {
		return errors.Join(errors.New("the cert-manager API is not ready"), last)
	}
	if err == nil {
		fmt.Println("The cert-manager API is ready")
	}
	return err
}
