// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cert-manager/cert-manager/internal/kube"
	certmanagerscheme "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/scheme"
	"github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	logf "github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/cert-manager/cert-manager/pkg/util"
)

const (
	// The chart's Role allows this lease.
	cainjectorLease = "cert-manager-cainjector-leader-election"
	// With the chart's own CRDs the cainjector can start before they are there.
	waitForCRDs = 5 * time.Minute
)

func runCAInjector(ctx context.Context, arguments []string) error {
	flags := pflag.NewFlagSet("cainjector", pflag.ContinueOnError)
	var shared options
	shared.addFlags(flags)
	var namespace string
	flags.StringVar(&namespace, "namespace", "", "watch this namespace only")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	if err := apply(shared.logging, shared.features); err != nil {
		return err
	}
	manager, err := newInjectorManager(shared, namespace)
	if err != nil {
		return err
	}
	if err := waitForCertificateCRD(ctx, manager); err != nil {
		return err
	}
	err = cainjector.RegisterAllInjectors(ctx, manager, cainjector.SetupOptions{
		Namespace:                    namespace,
		EnableCertificatesDataSource: true,
		EnabledReconcilersFor: map[string]bool{
			cainjector.MutatingWebhookConfigurationName:   true,
			cainjector.ValidatingWebhookConfigurationName: true,
			cainjector.APIServiceName:                     true,
			cainjector.CustomResourceDefinitionName:       true,
		},
	})
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}

func newInjectorManager(shared options, namespace string) (ctrl.Manager, error) {
	configuration, err := kube.BuildClientConfig("", shared.kubeconfig)
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, certmanagerscheme.AddToScheme, apiextensions.AddToScheme, apiregistration.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	// The injectors watch only the metadata of Secrets (the chart's role and memory request count on it) and read the
	// one they need directly, so a cache of whole Secrets must not come into being by accident.
	caches := cache.Options{ReaderFailOnMissingInformer: true}
	if namespace != "" {
		caches.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	}
	election := shared.leaderElection
	return ctrl.NewManager(util.RestConfigWithUserAgent(configuration, "cainjector"), ctrl.Options{
		Scheme:                        scheme,
		Cache:                         caches,
		Client:                        client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		Metrics:                       server.Options{BindAddress: shared.metricsAddress},
		LeaderElection:                election.enabled,
		LeaderElectionID:              cainjectorLease,
		LeaderElectionNamespace:       election.namespace,
		LeaderElectionResourceLock:    resourcelock.LeasesResourceLock,
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &election.leaseDuration,
		RenewDeadline:                 &election.renewDeadline,
		RetryPeriod:                   &election.retryPeriod,
	})
}

func waitForCertificateCRD(ctx context.Context, manager ctrl.Manager) error {
	reader, err := client.New(manager.GetConfig(), client.Options{Scheme: manager.GetScheme(), Mapper: manager.GetRESTMapper()})
	if err != nil {
		return err
	}
	name := client.ObjectKey{Name: "certificates.cert-manager.io"}
	return wait.PollUntilContextTimeout(ctx, time.Second, waitForCRDs, true, func(ctx context.Context) (bool, error) {
		err := reader.Get(ctx, name, &apiextensions.CustomResourceDefinition{})
		if apierrors.IsNotFound(err) {
			logf.FromContext(ctx).Info("waiting for the CRD", "name", name.Name)
			return false, nil
		}
		return err == nil, err
	})
}
