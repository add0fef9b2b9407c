package publish

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	digest "github.com/opencontainers/go-digest"
)

// Watcher looks at a repository again and again, as an outsider who knows what
// digests will come: at its tags, at those digests, and at their referrers.
type Watcher struct {
	key         Key
	digestFirst bool
	cancel      context.CancelFunc
	done        chan struct{}

	mu     sync.Mutex
	known  []digest.Digest
	rounds int
	seen   map[string]bool
	broken []string
	failed error
}

// pause is the shortest between two rounds. It grows with them to five times that, so
// that a watcher does not take what the watched needs.
const pause = 10 * time.Millisecond

// Watch begins to look at the repository name at host.
func Watch(ctx context.Context, host, name string, key Key, digestFirst bool) *Watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watcher{key: key, digestFirst: digestFirst, cancel: cancel, done: make(chan struct{}), seen: map[string]bool{}}
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			began := time.Now()
			w.round(Read(ctx, host, name))
			select {
			case <-ctx.Done():
			case <-time.After(min(max(pause, 4*time.Since(began)), 5*pause)):
			}
		}
	}()
	return w
}

// Expect tells of digests before they are published.
func (w *Watcher) Expect(digests ...digest.Digest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known = append(w.known, digests...)
}

func (w *Watcher) round(r *Repository) {
	w.mu.Lock()
	w.known = slices.DeleteFunc(w.known, func(d digest.Digest) bool { return w.seen[d.String()] })
	known := slices.Clone(w.known)
	w.mu.Unlock()
	for _, tag := range r.Tags() {
		w.look(r, tag, true)
	}
	for _, d := range known {
		w.look(r, d.String(), !w.digestFirst)
		_ = r.referrers(d) // for the record, whether or not the image is there
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rounds++
	if w.failed == nil {
		w.failed = r.Err
	}
}

// look looks at a manifest until it was once there, and signed as it must be.
func (w *Watcher) look(r *Repository, ref string, mustBeSigned bool) {
	if w.seen[ref] {
		return
	}
	d := r.Digest(ref)
	if d == "" {
		return
	}
	found := r.Signatures(w.key, d)
	if r.Err != nil || r.ctx.Err() != nil {
		return
	}
	if mustBeSigned && !found.complete() {
		w.mu.Lock()
		w.broken = append(w.broken, fmt.Sprintf("%s: %d bundles, %d signatures", ref, found.Bundles, found.Payloads))
		w.mu.Unlock()
	}
	if found.complete() {
		w.mu.Lock()
		w.seen[ref] = true
		w.mu.Unlock()
	}
}

// Look waits until the watcher has looked at everything n times more.
func (w *Watcher) Look(n int) {
	// The round that is under way may have begun too early.
	for last := w.count() + n + 1; w.count() < last; {
		select {
		case <-w.done:
			return
		case <-time.After(pause):
		}
	}
}

func (w *Watcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rounds
}

// Report is what a watcher saw.
type Report struct {
	// Rounds is how often it looked at everything, Seen how many tags and digests were
	// there, and Broken which of them without their signatures.
	Rounds, Seen int
	Broken       []string
	// Err is the first failure to look.
	Err error
}

// Stop ends the watch.
func (w *Watcher) Stop() Report {
	w.cancel()
	<-w.done
	return Report{w.rounds, len(w.seen), w.broken, w.failed}
}
