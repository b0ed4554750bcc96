// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command cert-manager is what the sandbox's four quay.io/jetstack/cert-manager-* images run. The first argument
// says which of them it is; after it come the flags of cert-manager's own chart.
//
// Everything it does is cert-manager's own code. What is written here are only the entry points: upstream keeps its
// commands in nested modules that no module proxy serves. The module's path lies below cert-manager's because the
// webhook server and the client configuration are internal packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"strings"
	"syscall"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	logsapi "k8s.io/component-base/logs/api/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	logf "github.com/cert-manager/cert-manager/pkg/logs"
	"github.com/cert-manager/cert-manager/pkg/util/feature"
)

// A command parses its arguments, runs until it is done or the context ends, and says why it could not.
var commands = map[string]func(context.Context, []string) error{
	"controller":      runController,
	"webhook":         runWebhook,
	"cainjector":      runCAInjector,
	"startupapicheck": runStartupAPICheck,
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	logf.InitLogs()
	defer logf.FlushLogs()
	if err := run(ctx, os.Args[1:]); err != nil && !errors.Is(err, pflag.ErrHelp) {
		logf.FlushLogs()
		fmt.Fprintln(os.Stderr, "cert-manager: "+err.Error())
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	if len(arguments) > 0 {
		if command, known := commands[arguments[0]]; known {
			ctrl.SetLogger(logf.Log)
			return command(logf.NewContext(ctx, logf.Log, arguments[0]), arguments[1:])
		}
	}
	names := make([]string, 0, len(commands))
	for name := range commands {
		names = append(names, name)
	}
	sort.Strings(names)
	return fmt.Errorf("the first argument must be one of %s", strings.Join(names, ", "))
}

// options are the flags that all long-running commands share.
type options struct {
	kubeconfig     string
	leaderElection leaderElectionOptions
	metricsAddress string
	features       map[string]bool
	logging        *logsapi.LoggingConfiguration
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	o.logging = logsapi.NewLoggingConfiguration()
	o.features = map[string]bool{}
	logf.AddFlags(o.logging, flags)
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig file; without it the pod's service account is used")
	flags.StringVar(&o.metricsAddress, "metrics-listen-address", "0.0.0.0:9402", "address of the metrics endpoint")
	flags.Var(cliflag.NewMapStringBool(&o.features), "feature-gates", "name=true|false pairs of cert-manager's feature gates")
	o.leaderElection.addFlags(flags)
}

func parse(flags *pflag.FlagSet, arguments []string) error {
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	return nil
}

// apply makes logging and feature gates what the flags said.
func apply(logging *logsapi.LoggingConfiguration, features map[string]bool) error {
	if err := logf.ValidateAndApply(logging); err != nil {
		return err
	}
	return feature.DefaultMutableFeatureGate.SetFromMap(features)
}
