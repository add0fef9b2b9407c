package vulndb

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// advice is how a database comes here.
const advice = `"temper db update" fetches one, "temper db import FILE" takes one from a file; --db, or scan.database in temper.yaml, names a file, a mirror or an OCI artifact to take it from`

// MissingError says that there is no database and that none could be fetched.
type MissingError struct {
	// Source is where it was to come from.
	Source string
	Dir    string
	// Err is why it could not be fetched; nil when that was not tried.
	Err error
}

func (e *MissingError) Error() string {
	msg := fmt.Sprintf("there is no vulnerability database of %s in %s", e.Source, e.Dir)
	if e.Err != nil {
		msg += fmt.Sprintf(", and none could be fetched: %v", e.Err)
	}
	return msg + "\n" + advice
}

func (e *MissingError) Unwrap() error { return e.Err }

// StaleError says that the database is too old to be relied on.
type StaleError struct {
	Built      time.Time
	Age, Limit time.Duration
	Source     string
	Dir        string
	// Err is why no newer one could be fetched; nil when that was not tried or
	// when there is none.
	Err error
}

func (e *StaleError) Error() string {
	msg := fmt.Sprintf("the vulnerability database of %s was built on %s, %s ago; the limit is %s", e.Source, day(e.Built), age(e.Age), age(e.Limit))
	if e.Err != nil {
		msg += fmt.Sprintf(", and no newer one could be fetched: %v", e.Err)
	}
	return msg + "\n" + advice + "; --db-max-age, or scan.maxage, moves the limit"
}

func (e *StaleError) Unwrap() error { return e.Err }

// InvalidError says that a database or its archive is damaged, or is not what its
// source says.
type InvalidError struct {
	// What is a file, an URL or a reference.
	What string
	Err  error
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("the vulnerability database %s is not usable: %v\n%s", e.What, e.Err, advice)
}

func (e *InvalidError) Unwrap() error { return e.Err }

// firstLine is an error without its advice.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }

// age is a duration for people: days, or hours when it is less than two days.
func age(d time.Duration) string {
	n, unit := int64(d/(24*time.Hour)), "days"
	if n < 2 {
		n, unit = int64(d/time.Hour), "hours"
	}
	if n < 2 {
		return d.Truncate(time.Second).String()
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// redactURL takes credentials out of a URL.
func redactURL(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return "an address that does not parse"
	}
	u.RawQuery = ""
	return u.Redacted()
}
