package integration

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/integration/door"
)

// What only the build can find wrong with a rule is shown at the rule's place,
// through every door.
func TestRefusedRules(t *testing.T) {
	const dockerfile = "FROM busybox\nCOPY --chmod=755 app.sh /\nCMD [\"/app.sh\"]\n"
	for _, tt := range []struct {
		name, yaml string
		args       map[string]string
		want       []string
	}{
		{
			name: "keep matches nothing", yaml: "harden:\n  keep:\n    - /bin/busybox\n    - /opt/busybox\n",
			want: []string{`temper.yaml:4:7: harden.keep: "/opt/busybox" matches nothing in the runtime stage`, "what comes near: /bin/busybox", ">>>     - /opt/busybox"},
		},
		{
			name: "remove takes what is needed", yaml: "# tidy\nharden:\n  remove: [/bin/sh]\n",
			want: []string{`temper.yaml:3:12: `, "/app.sh has lost its interpreter /bin/sh; harden.remove \"/bin/sh\" removes it: mend that rule, or remove /app.sh too"},
		},
		{
			name: "remove takes the command", yaml: "harden:\n  remove:\n    - /*.sh\n",
			want: []string{`temper.yaml:3:7: harden.remove: "/*.sh" removes /app.sh, which the image runs`},
		},
		{
			name: "preset of something else", yaml: "harden:\n  preset: postgres\n",
			want: []string{`temper.yaml:2:11: harden.preset: "postgres" matches nothing in the runtime stage: a PostgreSQL server`},
		},
		{
			name: "unknown preset", yaml: "harden:\n  preset: [debug, postgresql]\n",
			want: []string{`temper.yaml:2:19: harden.preset[1]: "postgresql" is not known`, "java, mariadb", `did you mean "postgres"?`},
		},
		{
			name: "build argument", yaml: "harden:\n  remove:\n    - /app.sh\n", args: map[string]string{"TEMPER_HARDEN_REMOVE": "package:nginx"},
			want: []string{`build argument TEMPER_HARDEN_REMOVE: harden.remove: "package:nginx" matches nothing`},
		},
		{
			name: "build argument for a preset", args: map[string]string{"TEMPER_HARDEN_PRESET": "nginx"},
			want: []string{`build argument TEMPER_HARDEN_PRESET: harden.preset: "nginx" matches nothing`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := contextDir(t, map[string]string{"Dockerfile": dockerfile, "app.sh": "#!/bin/sh\necho alive\n", "temper.yaml": tt.yaml})
			for _, d := range doors(t) {
				log := fails(t, d, door.Build{Context: dir, Contexts: contexts(t, "busybox"), Args: tt.args})
				for _, want := range tt.want {
					require.Contains(t, log, want, d.Name())
				}
			}
		})
	}
}
