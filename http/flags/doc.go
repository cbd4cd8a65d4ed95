// Package flags reads and checks the configuration of a process, and describes it.
//
// # What it is
//
// One table of flags, for the command line, the environment and --help alike; the flags of earlier
// releases; the flags that contradict each other; and --check-config, which describes what a start
// would do. Nothing here opens a port, asks a member or writes a file.
//
// # Picture
//
//	default ──► ETCD_DATA_DIR=… ──► --data-dir=… ──► old forms ──► what follows ──► contradictions
//	            environment         command line     --addr         --data-dir        one line, status 1
//	                                                                from --name
//
// # Types
//
// A [Config] is the checked configuration. A setting is one flag: a row of the table in
// Config.settings. An obsoleteFlag is one of earlier releases of etcd, and does nothing here.
//
// # Life of a value
//
// A row of the table has a default, a text for --help, and a function that checks a value and
// stores it. [Parse] calls that function with the default, then with the value of the command line,
// or with that of the environment where the command line has none. A value that is refused ends
// Parse: the error names the value, the place where it was given, and the form that is wanted. With
// --check-config, [Config.Describe] says what a start would do, by calling the code that the start
// itself uses.
//
// # Invariants
//
//   - The command line wins over the environment, and the environment over the default.
//     (`TestCommandLineBeatsEnvironmentBeatsDefault`)
//   - Every flag of etcd 2.3.8 is known, and takes a value exactly if it does in etcd.
//     (`TestEveryFlagOfEtcdIsKnown`)
//   - The README's table of flags is that of --help. (`TestTheReadmeListsEveryFlag`)
//   - No error, log line or answer shows a password. (`TestNoTextShowsAPassword`)
//
// # What is left out
//
// A configuration file, and reloading: a member is restarted to be changed.
package flags
