package release

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/temper-images/temper/client/stage"
	"github.com/temper-images/temper/client/vulndb"
	"github.com/temper-images/temper/frontend/config"
)

// pending is a database that is being opened.
type pending struct {
	cancel context.CancelFunc
	done   chan struct{}
	db     *vulndb.Database
	err    error
}

// openDatabase opens the vulnerability database in the background, unless nobody
// asks for a scan. failed is called when that fails.
func (o Options) openDatabase(ctx context.Context, failed func(error)) *pending {
	ctx, cancel := context.WithCancel(ctx)
	p := &pending{cancel: cancel, done: make(chan struct{})}
	if o.Settings.Scan.Gate == config.GateOff {
		close(p.done)
		return p
	}
	go func() {
		defer close(p.done)
		p.err = o.Steps.Run(ctx, "[evidence] open the vulnerability database", stage.Database, func(ctx context.Context, s *stage.Step) error {
			// The address of a mirror may hold a password.
			source, err := o.text(ctx, o.Settings.Scan.Database)
			if err != nil {
				return err
			}
			db, err := vulndb.Open(ctx, vulndb.Options{
				Source: source, Offline: o.Offline, Keychain: o.Keychain,
				MaxAge:   time.Duration(o.Settings.Scan.MaxAge) * 24 * time.Hour,
				Progress: func(p vulndb.Progress) { s.Progress(p.Step, p.Done, p.Total) },
			}, o.Now())
			if err != nil {
				return err
			}
			for _, w := range db.Warnings {
				s.Warn(w)
			}
			s.Set(slog.String("built", db.Built.UTC().Format(time.RFC3339)), slog.String("source", db.Source), slog.String("digest", db.Archive))
			p.db = db
			return nil
		})
		if p.err != nil {
			failed(p.err)
		}
	}()
	return p
}

// get waits for the database. It is nil when nobody asks for a scan.
func (p *pending) get(ctx context.Context) (*vulndb.Database, error) {
	select {
	case <-p.done:
		return p.db, p.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// close ends the opening, and closes what was opened.
func (p *pending) close() error {
	p.cancel()
	<-p.done
	if p.db == nil {
		return nil
	}
	return errors.Join(p.db.Close())
}
