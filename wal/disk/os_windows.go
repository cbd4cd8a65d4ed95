package disk

// The build for Windows ends here, with one error that says why: names are made durable by a sync
// of their directory, and data directories are locked with flock(2). Windows has neither.
var _ = etcd2_does_not_run_on_Windows__use_WSL_or_a_container
