// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command vllm is what the sandbox's image vllm/vllm-openai runs: vLLM's command line in front of
// llm-d-inference-sim. Like vLLM it refuses to start without a whole model (config, tokenizer, every byte of the
// safetensors files) and refuses options that vLLM does not have; it computes nothing.
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
)

const simulator = "/usr/local/bin/llm-d-inference-sim"

// Options of `vllm serve` 0.32 that change how a real engine computes and that the simulator has no use for.
// The value says whether the option takes an argument.
var withoutEffect = map[string]bool{
	"api-key": true, "attention-backend": true, "block-size": true, "chat-template": true, "download-dir": true,
	"dtype": true, "gpu-memory-utilization": true, "kv-cache-dtype": true, "kv-cache-memory-bytes": true,
	"kv-offloading-backend": true, "kv-offloading-size": true, "kv-transfer-config": true, "load-format": true,
	"max-num-batched-tokens": true, "pipeline-parallel-size": true, "quantization": true, "reasoning-parser": true,
	"revision": true, "root-path": true, "shutdown-timeout": true, "tensor-parallel-size": true, "tokenizer": true,
	"tokenizer-mode": true, "tool-call-parser": true, "uvicorn-log-level": true, "host": true,
	"disable-access-log-for-endpoints": true, "disable-uvicorn-access-log": false, "enable-auto-tool-choice": false,
	"enable-chunked-prefill": false, "no-enable-chunked-prefill": false, "enable-expert-parallel": false,
	"enable-force-include-usage": false, "enable-log-requests": false, "enable-prompt-tokens-details": false,
	"enforce-eager": false, "enable-prefix-caching": false, "no-enable-prefix-caching": false,
	"enable-lora": false, "max-lora-rank": true, "enable-ssl-refresh": false, "data-parallel-size-local": true,
	"data-parallel-address": true, "data-parallel-rpc-port": true, "data-parallel-start-rank": true,
	"api-server-count": true, "kv-events-config": true,
	"trust-remote-code": false, "async-scheduling": false, "no-async-scheduling": false,
}

// Options that the simulator has under the same name, and what else it understands of vLLM.
var passedOn = map[string]bool{
	"port": true, "served-model-name": true, "max-model-len": true, "max-num-seqs": true, "max-loras": true,
	"max-cpu-loras": true, "lora-modules": true, "seed": true, "ssl-certfile": true, "ssl-keyfile": true,
	"data-parallel-size": true, "data-parallel-rank": true,
}

// What KServe's presets ask before they choose flags; as the image's tag says.
const version = "0.32.0"

func main() {
	if len(os.Args) == 2 && os.Args[1] == "--version" {
		fmt.Println(version)
		return
	}
	model, served, arguments, err := parse(os.Args)
	if err == nil {
		err = checkModel(model)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vllm: "+err.Error())
		os.Exit(1)
	}
	if served == "" {
		served = model
	}
	command := append([]string{simulator, "--model", served, "--mode", "echo", "--force-dummy-tokenizer"}, arguments...)
	// A test gives the simulator its own options (latencies, failures) without vLLM's command line knowing them.
	command = append(command, strings.Fields(os.Getenv("SANDBOX_SIMULATOR_ARGS"))...)
	fmt.Println("starting:", strings.Join(command, " "))
	if err := syscall.Exec(simulator, command, os.Environ()); err != nil {
		fmt.Fprintln(os.Stderr, "vllm: "+err.Error())
		os.Exit(1)
	}
}

// parse understands `vllm serve [MODEL] ...` and `python3 -m vllm.entrypoints.openai.api_server ...`.
func parse(command []string) (model, served string, arguments []string, err error) {
	rest := command[1:]
	switch {
	case strings.HasPrefix(filepath.Base(command[0]), "python"):
		if len(rest) < 2 || rest[0] != "-m" || rest[1] != "vllm.entrypoints.openai.api_server" {
			return "", "", nil, fmt.Errorf("only `-m vllm.entrypoints.openai.api_server` can be run here")
		}
		rest = rest[2:]
	case len(rest) > 0 && rest[0] == "serve":
		rest = rest[1:]
		if len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
			model, rest = rest[0], rest[1:]
		}
	default:
		return "", "", nil, fmt.Errorf("invalid choice: expected `vllm serve`")
	}
	for len(rest) > 0 {
		name, value, inline := strings.Cut(strings.TrimPrefix(rest[0], "--"), "=")
		option := rest[0]
		rest = rest[1:]
		takesValue, ignored := withoutEffect[name]
		if !strings.HasPrefix(option, "--") || !(ignored || passedOn[name] || name == "model") {
			return "", "", nil, fmt.Errorf("error: unrecognized arguments: %s", option)
		}
		if (takesValue || passedOn[name] || name == "model") && !inline {
			if len(rest) == 0 {
				return "", "", nil, fmt.Errorf("error: argument --%s: expected one argument", name)
			}
			value, rest = rest[0], rest[1:]
		}
		switch {
		case name == "model":
			model = value
		case name == "served-model-name":
			served = value
			arguments = append(arguments, "--served-model-name", value)
			// Further names of the same model.
			for len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
				arguments, rest = append(arguments, rest[0]), rest[1:]
			}
		case passedOn[name]:
			arguments = append(arguments, "--"+name, value)
		}
	}
	return model, served, arguments, nil
}

// checkModel reads what an engine reads first, and compares each safetensors file's length with its own header:
// a model that was downloaded in part must not serve.
func checkModel(directory string) error {
	var config struct {
		Architectures []string `json:"architectures"`
	}
	for name, target := range map[string]any{"config.json": &config, "tokenizer.json": &map[string]any{}} {
		content, err := os.ReadFile(filepath.Join(directory, name))
		if err != nil {
			return fmt.Errorf("the model at %s cannot be loaded: %w", directory, err)
		}
		if err := json.Unmarshal(content, target); err != nil {
			return fmt.Errorf("the model at %s cannot be loaded: %s: %w", directory, name, err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(directory, "*.safetensors"))
	if len(files) == 0 {
		return fmt.Errorf("the model at %s cannot be loaded: no safetensors file", directory)
	}
	sort.Strings(files)
	var total int64
	for _, file := range files {
		size, err := checkSafetensors(file)
		if err != nil {
			return fmt.Errorf("the model at %s cannot be loaded: %s: %w", directory, filepath.Base(file), err)
		}
		total += size
	}
	fmt.Printf("loaded %s from %s: %d safetensors files, %d bytes\n",
		strings.Join(config.Architectures, ","), directory, len(files), total)
	return nil
}

func checkSafetensors(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	information, err := file.Stat()
	if err != nil {
		return 0, err
	}
	var length uint64
	if err := binary.Read(file, binary.LittleEndian, &length); err != nil {
		return 0, err
	}
	if length > uint64(information.Size()) {
		return 0, fmt.Errorf("header is larger than the file")
	}
	header := make([]byte, length)
	if _, err := file.ReadAt(header, 8); err != nil {
		return 0, err
	}
	tensors := map[string]json.RawMessage{}
	if err := json.Unmarshal(header, &tensors); err != nil {
		return 0, err
	}
	var end int64
	for name, raw := range tensors {
		if name == "__metadata__" {
			continue
		}
		var tensor struct {
			Offsets [2]int64 `json:"data_offsets"`
		}
		if err := json.Unmarshal(raw, &tensor); err != nil {
			return 0, err
		}
		end = max(end, tensor.Offsets[1])
	}
	if want := 8 + int64(length) + end; want != information.Size() {
		return 0, fmt.Errorf("incomplete: %d of %d bytes", information.Size(), want)
	}
	return information.Size(), nil
}
