// Package integration holds the tests of the whole and, below it, the real parts
// that they stand on: base images, builders, registries and containers.
package integration
