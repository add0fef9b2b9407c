// Package publish watches what is published to a registry: a proxy that records
// every request and answer in their order, rules that are proven on the record, and
// a watcher that reads along like any outsider. Its tests publish to real
// registries, kill the publisher at every request, and ask other people's tools.
package publish
