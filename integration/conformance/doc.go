// Package conformance runs BuildKit's own Dockerfile test suite against a
// frontend image and compares the results with a list of expected failures.
//
// The suite is that of the BuildKit version in go.mod. It wants four images of a
// public registry; stand-ins made from Debian packages take their place, so some
// tests fail with every frontend. What fails with BuildKit's own frontend is
// recorded as the baseline (expected-failures-stock.txt).
package conformance
