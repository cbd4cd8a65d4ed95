// Package flags is everything that can be chosen at the start of a process.
//
// # What it is
//
// One table of flags, for the command line, the environment and --help alike; the flags of earlier
// releases; what contradicts what; and the trial of a configuration. Nothing here opens a port,
// asks a member or writes a file.
//
// # Picture
//
//	default ──► ETCD_DATA_DIR=… ──► --data-dir=… ──► old forms ──► what follows ──► contradictions
//	            environment         command line     --addr         --data-dir        one line, status 1
//	                                                                from --name
//
// # Types
//
// A [Config] is what was chosen, checked. A setting is one flag: a row of the table in
// Config.settings. A relic is a flag of earlier releases that does nothing any more.
//
// # Life of a value
//
// A row of the table has its default, its text for --help, and the function that checks a value and
// stores it. [Parse] sets every default with that function, then the variables of the environment,
// then the flags of the command line. A value that is refused ends it: the error names the value,
// the place where it was given, and what is wanted. [Config.Tell] then says what a start would do,
// by the code that the start itself goes by.
//
// # Invariants
//
//   - The command line wins over the environment, and that over the default.
//     (`TestCommandLineBeatsEnvironmentBeatsDefault`)
//   - Every flag of etcd 2.3.8 is known, and takes a value when it does there.
//     (`TestEveryFlagOfEtcdIsKnown`)
//   - The README's table of flags is that of --help. (`TestTheReadmeListsEveryFlag`)
//   - No password stands in any text. (`TestNoTextShowsAPassword`)
//
// # What is left out
//
// A configuration file, and reloading: a member is restarted to be changed.
package flags
