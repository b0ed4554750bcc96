// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/healthz"
	logf "github.com/cert-manager/cert-manager/pkg/logs"

	// Each of these registers its controller or its kind of issuer. Left out are ACME, Vault and Venafi: they talk to
	// services outside the cluster, and ACME brings in the software kits of every cloud's DNS.
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificate-shim/ingresses"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/metrics"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	_ "github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	_ "github.com/cert-manager/cert-manager/pkg/controller/clusterissuers"
	_ "github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
)

const (
	// The chart's Role allows this one lease.
	controllerLease = "cert-manager-controller"
	// How long after its lease has run out a leader counts as dead; cert-manager's default.
	leaderHealthTimeout  = 20 * time.Second
	workersPerController = 5
)

// acmeFlags are the chart's; two of them it gives always.
var acmeFlags = []string{
	"acme-http01-solver-image",
	"acme-http01-solver-extra-labels",
	"acme-http01-solver-runtime-class-name",
	"dns01-recursive-nameservers",
	"dns01-recursive-nameservers-only",
	"max-concurrent-challenges",
}

func runController(ctx context.Context, arguments []string) error {
	flags := pflag.NewFlagSet("controller", pflag.ContinueOnError)
	var shared options
	shared.addFlags(flags)
	// The values are cert-manager's documented defaults.
	configuration := controller.ContextOptions{
		KubernetesAPIQPS:   20,
		KubernetesAPIBurst: 50,
		IssuerOptions:      controller.IssuerOptions{ClusterIssuerAmbientCredentials: true},
		IngressShimOptions: controller.IngressShimOptions{DefaultAutoCertificateAnnotations: []string{"kubernetes.io/tls-acme"}},
		CertificateOptions: controller.CertificateOptions{
			CopiedAnnotationPrefixes:                 []string{"*", "-kubectl.kubernetes.io/", "-fluxcd.io/", "-argocd.argoproj.io/"},
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	}
	var wanted []string
	var healthzAddress string
	flags.StringVar(&configuration.Namespace, "namespace", "", "watch this namespace only, without ClusterIssuers")
	flags.StringVar(&configuration.ClusterResourceNamespace, "cluster-resource-namespace", "kube-system", "namespace of the Secrets that ClusterIssuers name")
	flags.StringVar(&configuration.DefaultIssuerName, "default-issuer-name", "", "issuer of annotated Ingresses that name none")
	flags.StringVar(&configuration.DefaultIssuerKind, "default-issuer-kind", "Issuer", "its kind")
	flags.StringVar(&configuration.DefaultIssuerGroup, "default-issuer-group", "cert-manager.io", "its API group")
	flags.BoolVar(&configuration.EnableOwnerRef, "enable-certificate-owner-ref", false, "delete a Secret with its Certificate")
	flags.StringSliceVar(&wanted, "controllers", []string{"*"}, "controllers to run: * for all, NAME for one, -NAME for all but one")
	flags.StringVar(&healthzAddress, "healthz-listen-address", "0.0.0.0:9403", "address of the liveness endpoint")
	for _, name := range acmeFlags {
		flags.String(name, "", "without effect: ACME is not part of this build")
	}
	if err := parse(flags, arguments); err != nil {
		return err
	}
	if err := apply(shared.logging, shared.features); err != nil {
		return err
	}
	constructors, err := chooseControllers(controller.Known(), wanted)
	if err != nil {
		return err
	}
	if configuration.Namespace != "" {
		delete(constructors, "clusterissuers")
	}
	configuration.Kubeconfig = shared.kubeconfig
	return serveController(ctx, configuration, shared, healthzAddress, constructors)
}

// chooseControllers reads the --controllers flag: names to run, where "*" stands for all and "-name" takes one out.
func chooseControllers(known map[string]controller.Constructor, wanted []string) (map[string]controller.Constructor, error) {
	chosen := map[string]controller.Constructor{}
	onlyExclusions := true
	for _, name := range wanted {
		onlyExclusions = onlyExclusions && strings.HasPrefix(name, "-")
	}
	for name, constructor := range known {
		if onlyExclusions {
			chosen[name] = constructor
		}
		for _, want := range wanted {
			if want == "*" || want == name {
				chosen[name] = constructor
			}
		}
	}
	for _, want := range wanted {
		name := strings.TrimPrefix(want, "-")
		if _, exists := known[name]; !exists && want != "*" {
			return nil, fmt.Errorf("--controllers: there is no controller %q in this build", name)
		}
		if strings.HasPrefix(want, "-") {
			delete(chosen, name)
		}
	}
	return chosen, nil
}

// serveController answers metrics and liveness at once and runs the controllers while it holds the lease.
func serveController(
	ctx context.Context,
	configuration controller.ContextOptions,
	shared options,
	healthzAddress string,
	constructors map[string]controller.Constructor,
) error {
	stop := ctx
	ctx, fail := context.WithCancelCause(stop)
	defer fail(nil)
	factory, err := controller.NewContextFactory(ctx, configuration)
	if err != nil {
		return err
	}
	clients, err := factory.Build("leader-election")
	if err != nil {
		return err
	}
	certificates := clients.SharedInformerFactory.Certmanager().V1()
	clients.Metrics.SetupCertificateCollector(certificates.Certificates().Lister())
	clients.Metrics.SetupIssuerCollector(certificates.Issuers().Lister())
	if configuration.Namespace == "" {
		clients.Metrics.SetupClusterIssuerCollector(certificates.ClusterIssuers().Lister())
	}
	metricsListener, err := net.Listen("tcp", shared.metricsAddress)
	if err != nil {
		return err
	}
	metricsServer := clients.Metrics.NewServer(metricsListener)
	defer metricsServer.Close()
	go func() {
		if err := metricsServer.Serve(metricsListener); !errors.Is(err, http.ErrServerClosed) {
			fail(err)
		}
	}()
	healthzListener, err := net.Listen("tcp", healthzAddress)
	if err != nil {
		return err
	}
	health := healthz.NewServer(leaderHealthTimeout)
	go func() {
		if err := health.Start(ctx, healthzListener); err != nil {
			fail(err)
		}
	}()

	work := func(ctx context.Context) {
		if err := runControllers(ctx, factory, clients, constructors); err != nil {
			fail(err)
		}
	}
	if shared.leaderElection.enabled {
		elector, err := newElector(clients, shared.leaderElection, health.LeaderHealthzAdaptor, work)
		if err != nil {
			return err
		}
		elector.Run(ctx)
		fail(errors.New("lost the lease: another one leads now"))
	} else {
		work(ctx)
	}
	if stop.Err() != nil {
		// Told to stop, which is no failure.
		return nil
	}
	return context.Cause(ctx)
}

func newElector(
	clients *controller.Context,
	election leaderElectionOptions,
	watchdog *leaderelection.HealthzAdaptor,
	work func(context.Context),
) (*leaderelection.LeaderElector, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Name: controllerLease,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: election.namespace, Name: controllerLease},
			Client:     clients.Client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID()), EventRecorder: clients.Recorder},
		},
		LeaseDuration:   election.leaseDuration,
		RenewDeadline:   election.renewDeadline,
		RetryPeriod:     election.retryPeriod,
		ReleaseOnCancel: true,
		WatchDog:        watchdog,
		Callbacks:       leaderelection.LeaderCallbacks{OnStartedLeading: work, OnStoppedLeading: func() {}},
	})
}

// runControllers builds all controllers first, because building one asks the shared informers for what it watches,
// then starts the informers and the controllers, and returns when one of them fails or all have ended.
func runControllers(
	ctx context.Context,
	factory *controller.ContextFactory,
	clients *controller.Context,
	constructors map[string]controller.Constructor,
) error {
	log := logf.FromContext(ctx)
	controllers := map[string]controller.Interface{}
	for name, construct := range constructors {
		built, err := construct(factory)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		controllers[name] = built
	}
	clients.SharedInformerFactory.Start(ctx.Done())
	clients.KubeSharedInformerFactory.Start(ctx.Done())
	ended := make(chan error, len(controllers))
	for name, one := range controllers {
		log.Info("starting controller", "controller", name)
		go func() {
			err := one.Run(workersPerController, ctx)
			if err != nil {
				err = fmt.Errorf("%s: %w", name, err)
			}
			ended <- err
		}()
	}
	for range controllers {
		if err := <-ended; err != nil {
			return err
		}
	}
	return nil
}
