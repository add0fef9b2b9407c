// Package corpus holds real applications, each as a project would package it: an
// ordinary Dockerfile in apps/NAME and, in a Go file of the application's name,
// what must work in its image at every level of hardening.
package corpus

import (
	"context"
	"slices"
	"strings"
)

// App is an application of the corpus.
type App struct {
	// Name is the directory below apps that is the build context.
	Name string
	// Bases are the images that the Dockerfile builds on, out of Bases.
	Bases []string
	// Prepare adds to a copy of the build context, dir, what is too large or too
	// dull to be kept in apps; nil means nothing.
	Prepare func(ctx context.Context, dir string) error
	// Works uses the application as most people do, over its real interface.
	Works func(i *Instance)
	// Others uses what Works leaves out: other formats, rare modules, failures,
	// another locale. Hardening is never tuned to it.
	Others func(i *Instance)
	// Quick applications are built and hardened in a few seconds.
	Quick bool
}

var apps []App

// register adds an application; call it from init.
func register(a App) {
	apps = append(apps, a)
	slices.SortFunc(apps, func(a, b App) int { return strings.Compare(a.Name, b.Name) })
}

// Apps returns the applications, by name.
func Apps() []App { return slices.Clone(apps) }
