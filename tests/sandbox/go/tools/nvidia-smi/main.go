// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Command nvidia-smi is what the sandbox's image nvidia/cuda runs: it prints the XML report of NVIDIA's tool for H100s,
// with one fault of faults.json in the first of them. It looks at no hardware. The image's environment names the fault
// (SANDBOX_NVIDIA_SMI) and how many GPUs there are (SANDBOX_GPUS). gpu.xml is what driver 580.159.04 said of an idle H100
// that was passed through to a virtual machine, without its numbers and the list of its clocks; the faults are made up.
//
// Under the names of DCGM's programs it is what the image dcgm runs: a host engine that does nothing, and a dcgmi whose
// diagnosis finds a fault where the image's environment says so (SANDBOX_DCGM). As all_reduce_perf it is nccl-tests.
package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

//go:embed gpu.xml
var gpu string

//go:embed faults.json
var faults []byte

type fault struct {
	GPU    map[string]string `json:"gpu"`
	GPUs   *int              `json:"gpus"`
	Driver string            `json:"driver"`
	Text   string            `json:"text"`
	Exit   int               `json:"exit"`
	Cut    bool              `json:"cut"`
}

func main() {
	switch filepath.Base(os.Args[0]) {
	case "nv-hostengine":
	case "dcgmi":
		diagnose()
	case "all_reduce_perf":
		reduce()
	default:
		look()
	}
}

// diagnose prints what `dcgmi diag -r LEVEL -j` of DCGM 4 prints, shortened to two tests.
func diagnose() {
	if len(os.Args) != 5 || os.Args[1] != "diag" || os.Args[2] != "-r" || os.Args[4] != "-j" {
		fmt.Fprintln(os.Stderr, "only `dcgmi diag -r LEVEL -j` can be run here")
		os.Exit(2)
	}
	memory := `{"entity_id": 0, "status": "Pass"}`
	if os.Getenv("SANDBOX_DCGM") == "memory" {
		memory = `{"entity_id": 0, "status": "Fail", "warnings": [{"warning": "Memory test found 1 error", "error_id": 1}]}`
	}
	fmt.Printf(`{"DCGM Diagnostic": {"test_categories": [{"category": "Hardware", "tests": [
	{"name": "memory", "results": [%s]}, {"name": "pcie", "results": [{"entity_id": 0, "status": "Pass"}]}]}]}}
`, memory)
}

// reduce prints the line of NVIDIA's nccl-tests that has the result.
func reduce() {
	fmt.Println("   536870912  134217728  float  sum  -1  2433.8  220.59  386.04  0  2425.8  221.32  387.30  0")
}

func look() {
	if strings.Join(os.Args[1:], " ") != "-q -x" {
		fmt.Fprintln(os.Stderr, "only `nvidia-smi -q -x` can be run here")
		os.Exit(2)
	}
	known := map[string]fault{}
	if err := json.Unmarshal(faults, &known); err != nil {
		panic(err)
	}
	name := os.Getenv("SANDBOX_NVIDIA_SMI")
	if name == "" {
		name = "healthy"
	}
	chosen, found := known[name]
	if !found {
		fmt.Fprintln(os.Stderr, "no such fault: "+name)
		os.Exit(2)
	}
	if chosen.Text != "" {
		fmt.Println(chosen.Text)
		os.Exit(chosen.Exit)
	}
	count, err := strconv.Atoi(os.Getenv("SANDBOX_GPUS"))
	if err != nil {
		count = 1
	}
	text := report(chosen, count)
	if chosen.Cut {
		text = text[:len(text)/2]
	}
	fmt.Print(text)
}

func report(chosen fault, count int) string {
	if chosen.GPUs != nil {
		count = *chosen.GPUs
	}
	driver := chosen.Driver
	if driver == "" {
		driver = "580.173.02"
	}
	var text strings.Builder
	text.WriteString("<?xml version=\"1.0\" ?>\n<!DOCTYPE nvidia_smi_log SYSTEM \"nvsmi_device_v13.dtd\">\n<nvidia_smi_log>\n")
	fmt.Fprintf(&text, "\t<driver_version>%s</driver_version>\n\t<cuda_version>13.0</cuda_version>\n", driver)
	fmt.Fprintf(&text, "\t<attached_gpus>%d</attached_gpus>\n", count)
	for index := range count {
		one := gpu
		if index == 0 {
			one = broken(one, chosen.GPU)
		}
		one = strings.ReplaceAll(one, "VOLATILE_ERRORS", "0")
		one = strings.ReplaceAll(one, "GPU_BUS_ID", fmt.Sprintf("00000000:%02X:00.0", index+1))
		one = strings.ReplaceAll(one, "GPU_UUID", fmt.Sprintf("GPU-00000000-0000-0000-0000-%012d", index))
		text.WriteString(one)
	}
	text.WriteString("</nvidia_smi_log>\n")
	return text.String()
}

func broken(one string, changes map[string]string) string {
	names := make([]string, 0, len(changes))
	for name := range changes {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		one = strings.ReplaceAll(one, name, changes[name])
	}
	return one
}
