// SPDX-License-Identifier: GPL-3.0-or-later
// Copyright: Kubestead contributors

// The process that holds a pod's namespaces: it sleeps, reaps what is orphaned onto it, and leaves when told.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Version is set by the linker.
var Version = "unknown"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "-v" {
		fmt.Println("pause", Version)
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "pause: not the first process of its namespace, so there is little to reap")
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if err != syscall.EINTR && pid <= 0 {
				break
			}
		}
	}
}
