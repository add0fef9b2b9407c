CREATE EXTENSION pg_trgm;
CREATE TABLE book (id serial PRIMARY KEY, title text NOT NULL, added timestamptz NOT NULL DEFAULT now());
CREATE INDEX ON book USING gin (title gin_trgm_ops);
INSERT INTO book (title) VALUES ('The Tin Drum'), ('Buddenbrooks'), ('The Magic Mountain');
