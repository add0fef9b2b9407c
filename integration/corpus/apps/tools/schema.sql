CREATE TABLE sales (region TEXT, amount INTEGER, sold TEXT);
INSERT INTO sales VALUES
  ('north', 120, '2024-03-01T10:00:00Z'), ('south', 80, '2024-03-02T11:30:00Z'),
  ('north', 30, '2024-07-01T09:15:00Z'), ('east', 200, '2024-11-05T16:45:00Z');
