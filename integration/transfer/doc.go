// Package transfer tests client/transfer and its commands against real parts:
// Debian's docker-registry and a registry with the referrers API, the command lines
// of cosign 2 and 3, and skopeo, oras and crane as readers of what is saved.
package transfer
