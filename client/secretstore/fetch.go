package secretstore

import (
	"context"
	"fmt"

	"github.com/helmfile/vals/pkg/api"

	"github.com/temper-images/temper/client/secretref"
)

// document is what one fetch brings: text, or a mapping when a reference has keys.
// Whoever holds turn may fetch.
type document struct {
	turn chan struct{}
	done bool
	// value is a string or a map[string]any.
	value any
}

// fetch returns the reference's document, from memory when it was fetched before.
// A failed fetch is not kept.
func (r *Resolver) fetch(ctx context.Context, ref secretref.Reference) (any, error) {
	name := ref.Document()
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, ErrClosed
	}
	d := r.documents[name]
	if d == nil {
		d = &document{turn: make(chan struct{}, 1)}
		r.documents[name] = d
	}
	r.mu.Unlock()

	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-d.turn }()
	if d.done {
		return d.value, nil
	}
	value, err := r.ask(ctx, ref)
	if err != nil {
		return nil, err
	}
	d.value, d.done = value, true
	return value, nil
}

// ask has the provider fetch. Providers take no context: one that is given up
// ends by its SDK's own limits, and its answer is dropped.
func (r *Resolver) ask(ctx context.Context, ref secretref.Reference) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	type answer struct {
		value any
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if p := recover(); p != nil {
				a = answer{err: &broken{p}}
			}
			answers <- a
		}()
		a.value, a.err = r.call(ctx, ref)
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *Resolver) call(ctx context.Context, ref secretref.Reference) (any, error) {
	kind := providers[ref.Provider]
	if kind.check != nil {
		if err := kind.check(ctx, ref, r.o.MaxSize); err != nil {
			return nil, err
		}
	}
	p, err := r.instance(kind, ref)
	if err != nil {
		return nil, err
	}
	if len(ref.Keys) > 0 {
		return p.GetStringMap(ref.Path)
	}
	return p.GetString(ref.Path)
}

func (r *Resolver) instance(kind provider, ref secretref.Reference) (api.Provider, error) {
	if !kind.shared {
		return kind.open(configuration(ref))
	}
	name := fmt.Sprint(ref.Provider, ref.Options()) // fmt sorts maps
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, ok := r.instances[name]; ok {
		return p, nil
	}
	p, err := kind.open(configuration(ref))
	if err == nil && !r.closed {
		r.instances[name] = p
	}
	return p, err
}
