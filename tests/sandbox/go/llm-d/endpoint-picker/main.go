// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command endpoint-picker is what the sandbox's image llm-d-router-endpoint-picker runs: the endpoint picker of
// gateway-api-inference-extension, which llm-d's is made from, with those plugins of llm-d that KServe's own
// configurations name. They are written anew here, under llm-d's names and after its documentation.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"

	ctrl "sigs.k8s.io/controller-runtime"

	"sigs.k8s.io/gateway-api-inference-extension/cmd/epp/runner"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/interface/plugin"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/interface/scheduling"
	"sigs.k8s.io/gateway-api-inference-extension/pkg/epp/framework/plugins/scheduling/scorer/runningrequests"
)

const (
	prefill = "prefill"
	decode  = "decode"
	// The routing sidecar of the decode pod reads there which pod reads the prompt.
	prefillerHeader = "x-prefiller-host-port"
	roleLabel       = "llm-d.ai/role"
)

type base struct{ name plugin.TypedName }

func (b base) TypedName() plugin.TypedName { return b.name }

func register(pluginType string, make func(base) plugin.Plugin) {
	plugin.Register(pluginType, func(name string, _ json.RawMessage, _ plugin.Handle) (plugin.Plugin, error) {
		return make(base{plugin.TypedName{Type: pluginType, Name: name}}), nil
	})
}

// roleFilter keeps the pods of one side; those without a role do both.
type roleFilter struct {
	base
	role string
}

func (f roleFilter) Filter(_ context.Context, _ *scheduling.CycleState, _ *scheduling.LLMRequest,
	pods []scheduling.Endpoint) []scheduling.Endpoint {
	kept := []scheduling.Endpoint{}
	for _, pod := range pods {
		if role := pod.GetMetadata().Labels[roleLabel]; role == f.role || role == "both" || role == "" {
			kept = append(kept, pod)
		}
	}
	return kept
}

// disaggHandler runs decode first, then prefill, and tells decode's sidecar which pod was chosen for the prompt.
type disaggHandler struct{ base }

func (disaggHandler) Pick(_ context.Context, _ *scheduling.CycleState, _ *scheduling.LLMRequest,
	profiles map[string]scheduling.SchedulerProfile,
	results map[string]*scheduling.ProfileRunResult) map[string]scheduling.SchedulerProfile {
	for _, name := range []string{decode, prefill} {
		if _, done := results[name]; !done {
			return map[string]scheduling.SchedulerProfile{name: profiles[name]}
		}
	}
	return nil
}

func (disaggHandler) ProcessResults(_ context.Context, _ *scheduling.CycleState, _ *scheduling.LLMRequest,
	results map[string]*scheduling.ProfileRunResult) (*scheduling.SchedulingResult, error) {
	if results[decode] == nil {
		return nil, fmt.Errorf("no pod for decode")
	}
	chosen := map[string]*scheduling.ProfileRunResult{decode: results[decode]}
	if results[prefill] != nil {
		chosen[prefill] = results[prefill]
	}
	return &scheduling.SchedulingResult{ProfileResults: chosen, PrimaryProfileName: decode}, nil
}

// headers writes the prefill pod's address into the request.
type headers struct{ base }

func (headers) PreRequest(_ context.Context, request *scheduling.LLMRequest, result *scheduling.SchedulingResult) {
	delete(request.Headers, prefillerHeader)
	if run := result.ProfileResults[prefill]; run != nil && len(run.TargetEndpoints) > 0 {
		at := run.TargetEndpoints[0].GetMetadata()
		request.Headers[prefillerHeader] = net.JoinHostPort(at.Address, at.Port)
	}
}

// decider is named by the handler's parameters and always says yes.
type decider struct{ base }

// coldest prefers the pods that were chosen longest ago, so that prompts nobody has cached spread.
type coldest struct {
	base
	mutex sync.Mutex
	turn  int
	last  map[string]int
}

func (c *coldest) Category() scheduling.ScorerCategory { return scheduling.Distribution }

func (c *coldest) Score(_ context.Context, _ *scheduling.CycleState, _ *scheduling.LLMRequest,
	pods []scheduling.Endpoint) map[scheduling.Endpoint]float64 {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	scores := map[scheduling.Endpoint]float64{}
	for _, pod := range pods {
		scores[pod] = 1 / float64(1+c.last[pod.GetMetadata().NamespacedName.String()])
	}
	return scores
}

func (c *coldest) PreRequest(_ context.Context, _ *scheduling.LLMRequest, result *scheduling.SchedulingResult) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.turn++
	for _, run := range result.ProfileResults {
		for _, pod := range run.TargetEndpoints {
			c.last[pod.GetMetadata().NamespacedName.String()] = c.turn
		}
	}
}

func main() {
	register("prefill-filter", func(b base) plugin.Plugin { return roleFilter{b, prefill} })
	register("decode-filter", func(b base) plugin.Plugin { return roleFilter{b, decode} })
	register("disagg-profile-handler", func(b base) plugin.Plugin { return disaggHandler{b} })
	register("disagg-headers-handler", func(b base) plugin.Plugin { return headers{b} })
	register("always-disagg-pd-decider", func(b base) plugin.Plugin { return decider{b} })
	register("no-hit-lru-scorer", func(b base) plugin.Plugin { return &coldest{base: b, last: map[string]int{}} })
	plugin.Register("active-request-scorer", runningrequests.RunningRequestsSizeScorerFactory)
	if err := runner.NewRunner().Run(ctrl.SetupSignalHandler()); err != nil {
		os.Exit(1)
	}
}
