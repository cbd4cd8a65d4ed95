package etcdctl

// root is the table: all commands, and the options before them.
var root *command

func init() {
	root = &command{
		name: "etcdctl",
		help: "a command line client for etcd",
		more: "The same program runs under the name etcdctl, and as etcd2 ctl. Options for endpoints, users and " +
			"files that are not given\n" +
			"are taken from the environment, such as ETCDCTL_USERNAME.",
		options: []option{
			{name: "endpoints", arg: "LIST", check: text,
				help: "members to ask, separated by commas; default: http://127.0.0.1:2379,http://127.0.0.1:4001"},
			{name: "endpoint", arg: "LIST", check: text, help: "an old name of --endpoints"},
			{name: "peers", alias: "C", arg: "LIST", check: text, help: "an old name of --endpoints"},
			{name: "discovery-srv", alias: "D", arg: "DOMAIN", check: text,
				help: "take the endpoints from the SRV records of a domain"},
			{name: "output", alias: "o", arg: "FORMAT", check: text, preset: "simple",
				help: "simple, extended or json"},
			{name: "no-sync", help: "do not ask for the other members first"},
			{name: "debug", help: "print each request as a curl command on standard error"},
			{name: "cert-file", arg: "FILE", check: text, help: "certificate to show to the server"},
			{name: "key-file", arg: "FILE", check: text, help: "its key"},
			{name: "ca-file", arg: "FILE", check: text,
				help: "certificates of the authorities that may sign the server's certificate"},
			{name: "username", alias: "u", arg: "NAME[:PASSWORD]", check: text,
				help: "user; asks for the password if it is not given"},
			{name: "password-file", arg: "FILE", check: text, help: "file with the password of --username"},
			{name: "timeout", arg: "TIME", check: duration, preset: "1s",
				help: "longest time without a sign of life from an endpoint"},
			{name: "total-timeout", arg: "TIME", check: duration, preset: "5s",
				help: "longest time of a command, except those that wait or copy; 10 s more when the server hashes a " +
					"password"},
			{name: "version", alias: "v", help: "print the version"},
		},
		examples: []example{
			{"--endpoints http://10.0.0.1:2379,http://10.0.0.2:2379 get /message", "ask one of two members"},
			{"-o extended get /message", "with the indices"},
			{"-u root --password-file root.password user list", "with a password that is not in the list of processes"},
			{"--ca-file ca.pem --cert-file me.pem --key-file me-key.pem ls", "over TLS, with a certificate"},
		},
	}
	for _, family := range [][]*command{keyCommands, watchCommands, memberCommands, authCommands, addedCommands} {
		root.family = append(root.family, family...)
	}
}

// addedCommands are those that 2.3.8 lacks, or has in another form.
var addedCommands = []*command{backupCommand, restoreCommand, verifyCommand, doctorCommand, importCommand,
	migrateCommand, salvageCommand, benchCommand, completionCommand, helpCommand}
