package inspect

// Rule is something that an image should not have.
type Rule struct {
	// ID is stable; policies name it.
	ID       string
	Severity Severity
	// Default is what becomes of a finding when the policy says nothing.
	Default Action
	// Title says what the rule is against.
	Title string
	// Remedy is the way out.
	Remedy string
}

// The IDs of the rules.
const (
	ruleRoot         = "config.root"
	ruleUserName     = "config.user-name"
	ruleUnknownUser  = "config.unknown-user"
	ruleNoCommand    = "config.no-command"
	ruleConfigSecret = "config.secret"
	ruleSecretName   = "config.secret-name" //nolint:gosec // the name of a rule
	ruleLowPort      = "config.low-port"
	ruleVolume       = "config.system-volume"
	ruleSearchPath   = "config.search-path"
	ruleAddURL       = "config.add-url"
	ruleOnBuild      = "config.onbuild"
	ruleNoHealth     = "config.no-healthcheck"

	ruleSetUID         = "file.setuid"
	ruleSetGID         = "file.setgid"
	ruleWritable       = "file.world-writable"
	ruleWritableDir    = "file.world-writable-directory"
	ruleCapability     = "file.capability"
	ruleDevice         = "file.device"
	ruleGit            = "file.git-directory"
	ruleHistory        = "file.shell-history"
	ruleAuthorized     = "file.authorized-keys"
	ruleEmptyPassword  = "file.empty-password"
	rulePassword       = "file.password"
	ruleKeyStore       = "secret.key-store"
	rulePrivateKey     = "secret.private-key"
	ruleCredentials    = "secret.credentials"
	ruleSecret         = "secret.token"
	ruleGeneric        = "secret.generic"
	ruleRemoved        = "secret.removed"
	rulePackaged       = "secret.packaged"
	ruleDenied         = "licence.denied"
	ruleNotAllowed     = "licence.not-allowed"
	ruleUnknownLicence = "licence.unknown"
)

const remedyRotate = "Replace the secret at its service, since it is known to all who have the image; then build without it: RUN --mount=type=secret gives a build step a secret that stays in no layer."

// rules are all rules, sorted by ID.
var rules = []Rule{
	{ruleAddURL, Low, Warn, "a file was added from a URL without a checksum", "Give ADD --checksum=sha256:…, so that the build notices when another file is served."},
	{ruleLowPort, Low, Warn, "a port below 1024 is exposed", "Listen on a port from 1024 on: lower ones need a capability in many runtimes. Map the port outside."},
	{ruleNoCommand, Medium, Warn, "the image has no entrypoint and no command", "Set ENTRYPOINT or CMD in the Dockerfile."},
	{ruleNoHealth, Low, Off, "the image has no health check", "Set HEALTHCHECK in the Dockerfile, when the image runs where that is asked."},
	{ruleOnBuild, Low, Warn, "the image has triggers for images that are built on it", "Remove ONBUILD from the Dockerfile."},
	{ruleRoot, High, Fail, "the image runs as root", "Set USER to a number from 1 on, or let Temper choose one: harden.level is not off and harden.user is auto."},
	{ruleSearchPath, Medium, Warn, "programs or libraries are looked for where anybody can put some", "Set only absolute directories that not everybody can write in PATH, LD_LIBRARY_PATH and LD_PRELOAD."},
	{ruleConfigSecret, Critical, Fail, "the image's configuration holds a secret", remedyRotate},
	{ruleSecretName, High, Fail, "a variable, an argument or a label has the name of a secret and a value", remedyRotate},
	{ruleVolume, Medium, Warn, "a volume hides a directory of the system", "Declare volumes for the application's own data only."},
	{ruleUnknownUser, High, Fail, "the user that the image runs as is not in /etc/passwd", "Add the user in the Dockerfile, or name it by its number."},
	{ruleUserName, Low, Warn, "the user that the image runs as is given by name", "Set USER to the number: Kubernetes' runAsNonRoot refuses names."},

	{ruleAuthorized, Medium, Warn, "keys that may log in are in the image", "Give authorized_keys to the container when it starts."},
	{ruleCapability, Medium, Warn, "a program has capabilities of its own", "Remove them (setcap -r) when the program does not need them, and give them to the container otherwise."},
	{ruleDevice, Medium, Warn, "a device is in the image", "Remove it: runtimes bring the devices that a container may use."},
	{ruleEmptyPassword, Critical, Fail, "an account can be entered without a password", "Lock the account (passwd -l)."},
	{ruleGit, Medium, Warn, "a Git repository is in the image, with all that was ever committed", "Add .git to .dockerignore."},
	{rulePassword, High, Fail, "an account has a password that is the same in every container", "Lock the account (passwd -l), and replace the password wherever else it is used."},
	{ruleSetGID, Medium, Warn, "a program runs with the rights of its group, whoever starts it", "Remove the bit (chmod g-s), or let Temper do so: harden.level is not off."},
	{ruleSetUID, High, Fail, "a program runs with the rights of its owner, whoever starts it", "Remove the bit (chmod u-s), or let Temper do so: harden.level is not off."},
	{ruleHistory, Low, Warn, "the commands that somebody typed are in the image", "Remove the file in the step that makes it."},
	{ruleWritable, High, Fail, "everybody can write a file", "Remove the right (chmod o-w)."},
	{ruleWritableDir, Medium, Fail, "everybody can remove and replace what is in a directory", "Remove the right (chmod o-w) or set the sticky bit (chmod +t)."},

	{ruleDenied, High, Fail, "a package has a licence that must not be there", "Use another package, or make an exception for this one."},
	{ruleNotAllowed, High, Fail, "a package has a licence that is not among those allowed", "Use another package, allow the licence, or make an exception for this package."},
	{ruleUnknownLicence, Low, Off, "a package states no licence", "Find out its licence and make an exception for the package."},

	{ruleCredentials, Critical, Fail, "a program's saved credentials are in the image", remedyRotate},
	{ruleGeneric, Medium, Warn, "something that looks like a secret is in a file", "Look at the line. If it is a secret, replace it at its service and build without it; if not, make an exception for the file."},
	{ruleKeyStore, Medium, Warn, "a key store is in the image", "Give it to the container when it starts, unless it holds certificates only."},
	{rulePackaged, Medium, Off, "a secret is in a file that is as its package brought it", "Keep secrets out of packages; or make an exception for the file."},
	{rulePrivateKey, Critical, Fail, "a private key is in the image", remedyRotate},
	{ruleRemoved, High, Fail, "a secret is in a file that was removed or replaced: its layer still has it", remedyRotate},
	{ruleSecret, Critical, Fail, "a secret is in a file", remedyRotate},
}

// Rules are all rules, sorted by ID.
func Rules() []Rule { return sortedRules(rules) }
