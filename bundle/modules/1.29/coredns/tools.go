// SPDX-License-Identifier: GPL-3.0-or-later
// Copyright: Kubestead contributors

//go:build tools

// Package tools names what is built, for a Go that knows no tool directive.
package tools

import (
	_ "github.com/coredns/coredns"
)
