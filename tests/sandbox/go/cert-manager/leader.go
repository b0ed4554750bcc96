// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"time"

	"github.com/spf13/pflag"
)

// leaderElectionOptions default to what cert-manager documents for its commands.
type leaderElectionOptions struct {
	enabled       bool
	namespace     string
	leaseDuration time.Duration
	renewDeadline time.Duration
	retryPeriod   time.Duration
}

func (o *leaderElectionOptions) addFlags(flags *pflag.FlagSet) {
	flags.BoolVar(&o.enabled, "leader-elect", true, "work only while holding the lease")
	flags.StringVar(&o.namespace, "leader-election-namespace", "kube-system", "namespace of the lease")
	flags.DurationVar(&o.leaseDuration, "leader-election-lease-duration", 60*time.Second, "how long a lease that nobody renews is respected")
	flags.DurationVar(&o.renewDeadline, "leader-election-renew-deadline", 40*time.Second, "how long the leader tries to renew before it gives up")
	flags.DurationVar(&o.retryPeriod, "leader-election-retry-period", 15*time.Second, "how long to wait between tries")
}
