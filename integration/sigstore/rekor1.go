package sigstore

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"github.com/go-openapi/strfmt"
	"github.com/go-openapi/swag/conv"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"

	// The kinds of entries.
	_ "github.com/sigstore/rekor/pkg/types/dsse/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/hashedrekord/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.1"
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.2"
)

// Rekor1 is a transparency log of version 1, which says when it took an entry. The
// server wants MySQL, so that this one keeps nothing: it checks entries with Rekor's
// own code, and signs them with the library's test authority.
type Rekor1 struct {
	URL string
	// PublicKey, TrustedRoot and SigningConfig are files. The documents have this log
	// in place of the deployment's of version 2, and else its servers.
	PublicKey, TrustedRoot, SigningConfig string

	authority *ca.VirtualSigstore
	server    *http.Server
}

// StartRekor1 starts a log of version 1 for the deployment, with its files in dir.
// Call Stop to end it.
func (d *Deployment) StartRekor1(ctx context.Context, dir string) (*Rekor1, error) {
	r := &Rekor1{PublicKey: filepath.Join(dir, "rekor1.pub")}
	var err error
	if r.authority, err = ca.NewVirtualSigstore(); err != nil {
		return nil, fmt.Errorf("start a log of version 1: %w", err)
	}
	for _, l := range r.authority.RekorLogs() {
		public, err := x509.MarshalPKIXPublicKey(l.PublicKey)
		if err != nil {
			return nil, fmt.Errorf("start a log of version 1: %w", err)
		}
		if err := writePEM(r.PublicKey, "PUBLIC KEY", public); err != nil {
			return nil, fmt.Errorf("start a log of version 1: %w", err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start a log of version 1: %w", err)
	}
	r.URL = "http://" + l.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/log/entries", r.add)
	r.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = r.server.Serve(l) }() // Stop ends it
	log := "--rekor=url=" + r.URL + ",public-key=" + r.PublicKey + ",start-time=2024-01-01T00:00:00Z"
	r.TrustedRoot, r.SigningConfig, err = d.documents(ctx, dir, log, "1")
	return r, err
}

// Stop ends the server.
func (r *Rekor1) Stop() error { return r.server.Close() }

func (r *Rekor1) add(w http.ResponseWriter, req *http.Request) {
	entry, err := r.enter(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", "uuid")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]any{"uuid": entry}) // the client went away
}

func (r *Rekor1) enter(req *http.Request) (*models.LogEntryAnon, error) {
	proposed, err := models.UnmarshalProposedEntry(req.Body, jsonConsumer{})
	if err != nil {
		return nil, err
	}
	entry, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		return nil, err
	}
	body, err := types.CanonicalizeEntry(req.Context(), entry)
	if err != nil {
		return nil, err
	}
	id, err := r.authority.RekorLogID()
	if err != nil {
		return nil, err
	}
	now, encoded := time.Now().Unix(), base64.StdEncoding.EncodeToString(body)
	promise, err := r.authority.RekorSignPayload(tlog.RekorPayload{Body: encoded, IntegratedTime: now, LogID: id})
	if err != nil {
		return nil, err
	}
	proof, err := r.authority.GetInclusionProof(body)
	if err != nil {
		return nil, err
	}
	return &models.LogEntryAnon{
		Body: encoded, IntegratedTime: &now, LogIndex: conv.Pointer(int64(0)), LogID: &id,
		Verification: &models.LogEntryAnonVerification{InclusionProof: proof, SignedEntryTimestamp: strfmt.Base64(promise)},
	}, nil
}

type jsonConsumer struct{}

// Consume implements runtime.Consumer.
func (jsonConsumer) Consume(r io.Reader, v any) error { return json.NewDecoder(r).Decode(v) }
