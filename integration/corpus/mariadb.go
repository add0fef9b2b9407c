package corpus

import (
	"strings"

	"github.com/stretchr/testify/require"
)

func init() {
	register(App{Name: "mariadb", Bases: []string{"debian:bookworm"}, Works: mariadbWorks, Others: mariadbOthers})
}

// mariadbSQL runs statements as the application's user and returns what they
// select, columns separated by tabs.
func mariadbSQL(i *Instance, statements string, options ...string) string {
	args := append([]string{"mariadb", "--host=127.0.0.1", "--user=app", "--password=app", "--batch", "--skip-column-names", "--default-character-set=utf8mb4"}, options...)
	return strings.TrimSpace(i.ExecOutput(append(args, "--execute="+statements)...))
}

func mariadbStart(i *Instance) {
	i.Start(Process{})
	i.Dial("tcp", "127.0.0.1:3306").Close()
}

func mariadbWorks(i *Instance) {
	mariadbStart(i)
	mariadbSQL(i, "CREATE TABLE shop.item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL, price DECIMAL(8,2)) ENGINE=InnoDB")
	mariadbSQL(i, "INSERT INTO shop.item (name, price) VALUES ('Zündkerze', 4.5), ('lamp', 20)")
	require.Equal(i, "Zündkerze\t4.50\nlamp\t20.00", mariadbSQL(i, "SELECT name, price FROM shop.item ORDER BY id"))
	require.Equal(i, "24.50", mariadbSQL(i, "START TRANSACTION; UPDATE shop.item SET price = 0; ROLLBACK; SELECT sum(price) FROM shop.item"))
	r := i.Exec(Process{Args: []string{"mariadb", "--host=127.0.0.1", "--user=app", "--password=wrong", "--execute=SELECT 1"}})
	require.Contains(i, r.Stderr, "Access denied")
}

// mariadbOthers: other engines, character sets, languages, zones, plugins, dumps,
// checks, a restart.
func mariadbOthers(i *Instance) {
	mariadbStart(i)
	for _, engine := range []string{"Aria", "MyISAM", "CSV", "MEMORY", "SEQUENCE"} {
		require.Equal(i, "1", mariadbSQL(i, "SELECT count(*) FROM information_schema.engines WHERE engine = '"+engine+"' AND support = 'YES'"), engine)
	}
	mariadbSQL(i, "INSTALL SONAME 'ha_archive'; CREATE TABLE shop.old (n INT) ENGINE=ARCHIVE; INSERT INTO shop.old SELECT seq FROM shop.seq_1_to_1000")
	require.Equal(i, "1000", mariadbSQL(i, "SELECT count(*) FROM shop.old"))
	mariadbSQL(i, "INSTALL SONAME 'auth_ed25519'; CREATE USER ed@'%' IDENTIFIED VIA ed25519 USING PASSWORD('pw')")
	r := i.Exec(Process{Args: []string{"mariadb", "--host=127.0.0.1", "--user=ed", "--password=pw", "--batch", "--skip-column-names", "--execute=SELECT 'in'"}})
	require.Equal(i, "in\n", r.Stdout, r.Stderr)
	mariadbSQL(i, "INSTALL SONAME 'simple_password_check'")
	r = i.Exec(Process{Args: []string{"mariadb", "--host=127.0.0.1", "--user=app", "--password=app", "--execute=CREATE USER weak@'%' IDENTIFIED BY 'x'"}})
	require.Contains(i, r.Stderr, "password")

	require.Equal(i, "4772F6DF65", mariadbSQL(i, "SELECT hex(convert('Größe' USING latin1))"))
	require.Equal(i, "93FA967B", mariadbSQL(i, "SELECT hex(convert('日本' USING sjis))"))
	require.Equal(i, "F0D2C9D7C5D4", mariadbSQL(i, "SELECT hex(convert('Привет' USING koi8r))"))
	require.Equal(i, "1", mariadbSQL(i, "SELECT 'ß' = 'ss' COLLATE utf8mb4_unicode_ci"))
	require.Equal(i, "1", mariadbSQL(i, "SELECT _utf8mb4'é' = 'E' COLLATE utf8mb4_uca1400_ai_ci"))
	require.Equal(i, "Montag", mariadbSQL(i, "SET lc_time_names = 'de_DE'; SELECT dayname('2024-07-01')"))
	r = i.Exec(Process{Args: []string{"mariadb", "--host=127.0.0.1", "--user=app", "--password=app", "--execute=SET lc_messages = 'de_DE'; SELECT * FROM shop.absent"}})
	require.Contains(i, r.Stderr, "Tabelle 'shop.absent' existiert nicht")

	zones := i.Exec(Process{Args: []string{"sh", "-c", "mariadb-tzinfo-to-sql /usr/share/zoneinfo 2>/dev/null | mariadb --host=127.0.0.1 --user=app --password=app mysql"}})
	require.Zero(i, zones.Code, zones.Stderr)
	require.Equal(i, "2024-07-01 17:45:00", mariadbSQL(i, "SELECT convert_tz('2024-07-01 12:00:00', 'UTC', 'Asia/Kathmandu')"))
	require.Equal(i, "2", mariadbSQL(i, "SELECT json_value('{\"a\": [1, 2]}', '$.a[1]')"))
	require.Equal(i, "x", mariadbSQL(i, "SELECT extractvalue('<a><b>x</b></a>', '/a/b')"))
	require.Equal(i, "secret", mariadbSQL(i, "SELECT aes_decrypt(aes_encrypt('secret', 'k'), 'k')"))
	require.Equal(i, "1", mariadbSQL(i, "SELECT 'Größe' REGEXP 'gr.{1}ße'"))

	dump := i.ExecOutput("mariadb-dump", "--host=127.0.0.1", "--user=app", "--password=app", "shop", "old")
	require.Contains(i, dump, "ENGINE=ARCHIVE")
	require.Contains(i, i.ExecOutput("mariadb-check", "--host=127.0.0.1", "--user=app", "--password=app", "shop"), "OK")
	require.Contains(i, i.ExecOutput("mariadb-admin", "--host=127.0.0.1", "--user=app", "--password=app", "status"), "Uptime")
	require.Contains(i, i.ExecOutput("mariadb-show", "--host=127.0.0.1", "--user=app", "--password=app"), "shop")
	require.Contains(i, i.ExecOutput("perror", "28"), "No space left on device")
	i.Stop()
	mariadbStart(i)
	require.Equal(i, "1000", mariadbSQL(i, "SELECT count(*) FROM shop.old"))
}
