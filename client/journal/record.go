package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// maxLine bounds one record, in bytes.
const maxLine = 64 << 10

// line is the record as JSON with a line end.
func (r *Record) line() ([]byte, error) {
	if r.Op == "" {
		return nil, errors.New("write a record: it does not say what is done")
	}
	line, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write a record: %w", err)
	}
	if len(line) >= maxLine {
		return nil, fmt.Errorf("write a record: it has %d bytes, and %d are allowed", len(line), maxLine-1)
	}
	return append(line, '\n'), nil
}

// parse reads records, one a line. Whole is how many bytes of data they take: a
// last line that was not written to its end does not count. Any other line that is
// no record is an error.
func parse(data []byte) (records []Record, whole int, err error) {
	for n := 1; whole < len(data); n++ {
		end := bytes.IndexByte(data[whole:], '\n')
		if end < 0 {
			return records, whole, nil
		}
		line := data[whole : whole+end]
		r, err := parseLine(line)
		if err != nil {
			// A crash of the machine may leave a last line of the right length without
			// its content.
			if whole+end+1 == len(data) {
				return records, whole, nil
			}
			return nil, 0, fmt.Errorf("line %d is no record: %w", n, err)
		}
		records = append(records, r)
		whole += end + 1
	}
	return records, whole, nil
}

func parseLine(line []byte) (Record, error) {
	var r Record
	if len(line) >= maxLine {
		return r, fmt.Errorf("it has %d bytes, and %d are allowed", len(line), maxLine-1)
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, err
	}
	if r.Op == "" {
		return r, errors.New("it does not say what was done")
	}
	if r.Op == OpFile {
		if err := r.Digest.Validate(); err != nil {
			return r, fmt.Errorf("digest of file %.80q: %w", r.Name, err)
		}
		if r.Digest.Algorithm() != fileAlgorithm || r.Size < 0 || r.Size > maxFile || r.Name == "" {
			return r, fmt.Errorf("file %.80q is none of a journal", r.Name)
		}
	}
	return r, nil
}
