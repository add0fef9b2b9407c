package rpmdb

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

const sqliteMagic = "SQLite format 3\x00"

// readSQLite returns the blobs in the table Packages, by number.
func readSQLite(ctx context.Context, db, wal []byte) ([][]byte, error) {
	if len(db) < sqliteHeader {
		return nil, fmt.Errorf("%w: it ends within its header", errDamaged)
	}
	db, err := replay(db, wal)
	if err != nil {
		return nil, err
	}
	// Without its log, the database is one that keeps none: a database in memory
	// cannot have one.
	db = bytes.Clone(db)
	db[18], db[19] = 1, 1
	c := collector{left: len(db)}
	err = inMemory(ctx, func(conn *sql.Conn) error {
		err := conn.Raw(func(driver any) error {
			return driver.(interface{ Deserialize([]byte) error }).Deserialize(db)
		})
		if err != nil {
			return err
		}
		if err := defend(ctx, conn); err != nil {
			return err
		}
		rows, err := conn.QueryContext(ctx, "SELECT blob FROM Packages ORDER BY hnum")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var blob []byte
			if err := rows.Scan(&blob); err != nil {
				return err
			}
			if err := c.add(blob); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return c.blobs, err
}

// defend makes reading a malicious database safe (sqlite.org/security.html):
// Packages must be an ordinary table with a stored column, so that nothing in
// the file says what to compute.
func defend(ctx context.Context, conn *sql.Conn) error {
	for _, pragma := range []string{"trusted_schema = OFF", "cell_size_check = ON", "query_only = ON"} {
		if _, err := conn.ExecContext(ctx, "PRAGMA "+pragma); err != nil {
			return err
		}
	}
	var stored int
	row := conn.QueryRowContext(ctx, `SELECT count(*) FROM pragma_table_list AS l, pragma_table_xinfo('Packages', 'main') AS c
		WHERE l.schema = 'main' AND l.name = 'Packages' AND l.type = 'table' AND c.name IN ('hnum', 'blob') AND c.hidden = 0`)
	if err := row.Scan(&stored); err != nil {
		return err
	}
	if stored != 2 {
		return fmt.Errorf("%w: it has no table Packages with the columns hnum and blob", errDamaged)
	}
	return nil
}

// Entry is one package to write.
type Entry struct {
	Name string
	Blob []byte
}

// indexes are the tables that rpm looks for when it opens a database, and would
// make if it may write (rpm 4.18, lib/rpmdb.c and lib/backend/sqlite.c).
var indexes = []string{
	"Name", "Basenames", "Group", "Requirename", "Providename", "Conflictname", "Obsoletename", "Triggername", "Dirnames",
	"Installtid", "Sigmd5", "Sha1header", "Filetriggername", "Transfiletriggername", "Recommendname", "Suggestname",
	"Supplementname", "Enhancename",
}

// schema returns the statements that make rpm's tables.
func schema() string {
	var b strings.Builder
	b.WriteString("PRAGMA page_size = 4096;\nCREATE TABLE 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT,blob BLOB NOT NULL);\n")
	for _, name := range indexes {
		kind := "TEXT"
		if name == "Installtid" || name == "Sigmd5" {
			kind = "BLOB"
		}
		fmt.Fprintf(&b, "CREATE TABLE '%s' (key '%s' NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL, FOREIGN KEY (hnum) REFERENCES 'Packages'(hnum));\n", name, kind)
	}
	b.WriteString("CREATE INDEX 'Name_key_idx' ON 'Name'(key ASC);\n")
	return b.String()
}

// Write returns a SQLite database of rpm with the packages, numbered from one
// in their order. Equal packages give equal bytes. Of the indexes only that by
// name is filled, which is enough to list, query and verify packages; rpmdb
// --rebuilddb fills the others.
func Write(ctx context.Context, entries []Entry) ([]byte, error) {
	var db []byte
	err := inMemory(ctx, func(conn *sql.Conn) error {
		if _, err := conn.ExecContext(ctx, schema()); err != nil {
			return err
		}
		tx, err := conn.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		for i, e := range entries {
			if _, err := tx.ExecContext(ctx, "INSERT INTO Packages VALUES (?, ?)", i+1, e.Blob); err != nil {
				return errors.Join(err, tx.Rollback())
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO Name VALUES (?, ?, 0)", e.Name, i+1); err != nil {
				return errors.Join(err, tx.Rollback())
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		return conn.Raw(func(driver any) error {
			db, err = driver.(interface{ Serialize() ([]byte, error) }).Serialize()
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("write an rpm database: %w", err)
	}
	return db, nil
}

// inMemory calls use with a connection to an empty database in memory.
func inMemory(ctx context.Context, use func(*sql.Conn) error) (err error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	return use(conn)
}
