// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command disagg-sidecar is what the sandbox's image llm-d-router-disagg-sidecar runs before the engine of a decode pod.
// It does what llm-d documents of its connector nixlv2: a request that names a prefill pod goes there first, for one
// token, and what that pod answers in kv_transfer_params goes on to the engine with the request.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
)

const prefillerHeader = "x-prefiller-host-port"

func main() {
	flags := flag.NewFlagSet("pd-sidecar", flag.ExitOnError)
	port := flags.String("port", "8000", "port to listen on")
	enginePort := flags.String("vllm-port", "8001", "port of the engine")
	connector := flags.String("kv-connector", "nixlv2", "only nixlv2 is known here")
	flags.Bool("secure-proxy", true, "TLS to the engine: must be false here")
	flags.Bool("enable-ssrf-protection", false, "no effect: the sandbox trusts its picker")
	flags.String("pool-group", "", "no effect")
	flags.String("inference-pool", "", "no effect")
	// KServe's preset leaves empty arguments where TLS is off; flag would stop at the first of them.
	arguments := []string{}
	for _, argument := range os.Args[1:] {
		if argument != "" {
			arguments = append(arguments, argument)
		}
	}
	_ = flags.Parse(arguments)
	if *connector != "nixlv2" || flags.Lookup("secure-proxy").Value.String() == "true" {
		log.Fatalf("cannot do --kv-connector=%s with --secure-proxy=%s", *connector, flags.Lookup("secure-proxy").Value)
	}
	engine := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "127.0.0.1:" + *enginePort})
	engine.FlushInterval = -1
	engine.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, err error) {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health" {
			// KServe's liveness probe begins while the model is still downloaded; the engine has probes of its own.
			return
		}
		if at := r.Header.Get(prefillerHeader); at != "" && r.Method == http.MethodPost {
			if err := readElsewhere(r, at); err != nil {
				http.Error(w, "prefill: "+err.Error(), http.StatusBadGateway)
				return
			}
			w.Header().Set("x-prefill-pod", at)
		}
		engine.ServeHTTP(w, r)
	}
	log.Printf("listening on %s before 127.0.0.1:%s", *port, *enginePort)
	log.Fatal(http.ListenAndServe(":"+*port, http.HandlerFunc(handler)))
}

// readElsewhere has the prompt read by the engine `at` and writes its answer into the request.
func readElsewhere(r *http.Request, at string) error {
	var body map[string]any
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return err
	}
	first := maps.Clone(body)
	first["stream"], first["max_tokens"] = false, 1
	delete(first, "stream_options")
	delete(first, "max_completion_tokens")
	first["kv_transfer_params"] = map[string]any{
		"do_remote_decode": true, "do_remote_prefill": false, "remote_engine_id": nil,
		"remote_block_ids": nil, "remote_host": nil, "remote_port": nil,
	}
	content, err := json.Marshal(first)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodPost, "http://"+at+r.URL.Path, bytes.NewReader(content))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d: %s", at, answer.StatusCode, strings.TrimSpace(string(text)))
	}
	var told map[string]any
	if err := json.Unmarshal(text, &told); err != nil {
		return err
	}
	if params, found := told["kv_transfer_params"]; found {
		body["kv_transfer_params"] = params
	}
	if content, err = json.Marshal(body); err != nil {
		return err
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(content)), int64(len(content))
	r.Header.Set("Content-Length", fmt.Sprint(len(content)))
	return nil
}
