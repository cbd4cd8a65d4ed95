package etcdctl

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"etcd2/http/certs"
	"etcd2/http/client"
)

// Version is the version of etcdctl whose commands these are.
const Version = "2.3.8"

// The exit statuses.
const (
	statusWrong       = 1 // wrong arguments, and all errors without a status of their own
	statusUnreachable = 2 // no endpoint tells the list of members
	statusRefused     = 4 // a member refuses, or none answers
	statusUnwell      = 5
)

// A failure is an error that ends the program with a status.
type failure struct {
	status int
	text   string // for standard error; "": nothing is left to print
}

// Error returns the text.
func (f *failure) Error() string { return f.text }

// wrong is the failure of arguments that make no sense.
func wrong(text string) error { return &failure{statusWrong, "Error:  " + text} }

// bare makes a failure of an error, without a word before it, as 2.3.8 does for some commands.
func bare(err error) error {
	if f := new(failure); err == nil || errors.As(err, &f) {
		return err
	}
	return &failure{statusWrong, described(err)}
}

// refused makes a failure of the error of a request.
func refused(err error) error {
	if f := new(failure); err == nil || errors.As(err, &f) {
		return err
	}
	return &failure{statusRefused, "Error:  " + described(err)}
}

// described returns the error's text in one line, even if a member put line feeds into it. When no
// endpoint answered, there is a line for each.
func described(err error) string {
	var all *client.ClusterError
	if !errors.As(err, &all) {
		return oneLine(err.Error())
	}
	var b strings.Builder
	b.WriteString("client: etcd cluster is unavailable or misconfigured")
	if all.Unknown {
		b.WriteString("; " + client.ErrUnknown.Error())
	}
	for i, f := range all.Failures {
		fmt.Fprintf(&b, "\nerror #%d: %s", i, oneLine(reason(f)))
	}
	return b.String() + "\n"
}

// reason returns the error of one endpoint, with its URL.
func reason(f client.Failure) string {
	text := f.Err.Error()
	if _, host, _ := strings.Cut(f.Endpoint, "://"); !strings.Contains(text, host) {
		text = f.Endpoint + ": " + text
	}
	return text
}

// A session is one run of the program. It belongs to one goroutine.
type session struct {
	ctx     context.Context // ends after --total-timeout
	environ []string
	stdin   *bufio.Reader
	in      io.Reader // stdin, unbuffered: it may be a terminal
	stdout  io.Writer
	stderr  io.Writer

	terminal func(stream any) bool // isTerminal, except in tests

	global values // the options before the command
	opts   values // the options of the command
	user   *user  // --username, with its password; nil: not read yet

	lookupSRV func(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Called reports whether args, which begin with the name of a program, call this one: by its name,
// or by the word ctl after another name. It returns the other arguments.
func Called(args []string) ([]string, bool) {
	switch {
	case len(args) > 0 && filepath.Base(args[0]) == "etcdctl":
		return args[1:], true
	case len(args) > 1 && args[1] == "ctl":
		return args[2:], true
	}
	return nil, false
}

// Run runs the program and returns its exit status. args are without its name, environ is as from
// os.Environ. A command that runs for ever ends at an interrupt, with status 0.
func Run(args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	s := &session{
		ctx: context.Background(), environ: environ,
		stdin: bufio.NewReader(stdin), in: stdin, stdout: stdout, stderr: stderr, terminal: isTerminal,
		lookupSRV: net.DefaultResolver.LookupSRV,
	}
	return s.main(args)
}

// main runs a command, and returns the exit status.
func (s *session) main(args []string) int {
	err := s.run(args)
	if err == nil {
		return 0
	}
	f := &failure{statusWrong, err.Error()}
	errors.As(err, &f)
	if f.text != "" {
		for line := range strings.SplitSeq(f.text, "\n") {
			s.tell(s.stderr, "%s\n", line)
		}
	}
	return f.status
}

// run finds the command and calls it.
func (s *session) run(args []string) error {
	global, rest, err := parse(root.options, args, 1)
	if err != nil {
		return s.misused(root, nil, err)
	}
	s.global = global
	switch {
	case global.on("version"):
		fmt.Fprintln(s.stdout, "etcdctl version "+Version)
		return nil
	case len(rest) == 0 || global.on("help"):
		return s.help(root, nil)
	}
	c, path, rest := root.find(rest)
	if c.run == nil {
		return s.noCommand(c, path, rest)
	}
	opts, rest, err := parse(c.options, rest, c.foreign)
	switch {
	case err != nil:
		return s.misused(c, path, err)
	case opts.on("help"):
		return s.help(c, path)
	}
	s.opts = opts
	ctx, cancel := context.WithTimeout(s.ctx, s.global.duration("total-timeout"))
	defer cancel()
	s.ctx = ctx
	return c.run(s, rest)
}

// noCommand shows the help of a family that was called without one of its commands.
func (s *session) noCommand(c *command, path, rest []string) error {
	opts, rest, err := parse(c.options, rest, 1)
	switch {
	case err != nil:
		return s.misused(c, path, err)
	case len(rest) == 0 || opts.on("help"):
		return s.help(c, path)
	}
	return &failure{0, fmt.Sprintf("No help topic for '%s'", rest[0])} // with status 0, as 2.3.8
}

// misused shows how the command is used: with status 0, as 2.3.8.
func (s *session) misused(c *command, path []string, err error) error {
	s.tell(s.stdout, "Incorrect Usage.\n\n")
	s.help(c, path)
	return &failure{0, err.Error()}
}

// environment returns a variable, "" if it is not set.
func (s *session) environment(name string) (value string) {
	for _, entry := range s.environ {
		if v, found := strings.CutPrefix(entry, name+"="); found {
			value = v
		}
	}
	return value
}

// given returns the value of a global option, or of its environment variable.
func (s *session) given(option string) string {
	if v := s.global.text(option); v != "" {
		return v
	}
	return s.environment("ETCDCTL_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_")))
}

// endpoints returns the endpoints that were given by an option or a variable, or the defaults.
func (s *session) endpoints() ([]string, error) {
	if domain := s.given("discovery-srv"); domain != "" {
		return s.discover(domain)
	}
	for _, option := range []string{"endpoints", "endpoint", "peers"} {
		if list := s.given(option); list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return []string{"http://127.0.0.1:2379", "http://127.0.0.1:4001"}, nil
}

// discover asks the DNS for the endpoints of a domain.
func (s *session) discover(domain string) (found []string, err error) {
	var faults []string
	for _, kind := range []struct{ service, scheme string }{{"etcd-client-ssl", "https"}, {"etcd-client", "http"}} {
		_, records, err := s.lookupSRV(s.ctx, kind.service, "tcp", domain)
		if err != nil {
			faults = append(faults, err.Error())
			continue
		}
		for _, r := range records {
			host := net.JoinHostPort(strings.TrimSuffix(r.Target, "."), strconv.Itoa(int(r.Port)))
			found = append(found, kind.scheme+"://"+host)
		}
	}
	if len(faults) == 2 {
		return nil, &failure{statusWrong, "dns lookup errors: " + strings.Join(faults, " and ")}
	}
	return found, nil
}

// config returns the configuration of a client without a user.
func (s *session) config(endpoints []string) (client.Config, error) {
	cfg := client.Config{
		Endpoints: endpoints,
		Timeout:   s.global.duration("timeout"),
		Proxy:     http.ProxyFromEnvironment,
	}
	if s.global.on("debug") {
		cfg.Debug = func(curl string) { s.tell(s.stderr, "cURL Command: %s\n", curl) }
	}
	var err error
	cfg.TLS, err = s.tls()
	return cfg, err
}

// userConfig returns config with the user that was given. The password is read once.
func (s *session) userConfig(endpoints []string) (client.Config, error) {
	cfg, err := s.config(endpoints)
	if err == nil && s.user == nil {
		s.user, err = s.credentials(s.given("username"), s.given("password-file"), "Password: ")
	}
	if err == nil {
		cfg.Username, cfg.Password = s.user.name, s.user.password
	}
	return cfg, err
}

// A user is the name and password that requests carry; without a name they carry none.
type user struct{ name, password string }

// credentials returns the user of NAME[:PASSWORD]. Without a password in text, it is read from the
// file, or asked for if no file was given.
func (s *session) credentials(text, file, prompt string) (*user, error) {
	name, password, whole := strings.Cut(text, ":")
	switch {
	case name == "" && file != "":
		return nil, &failure{statusWrong, fmt.Sprintf("the password in %s is nobody's: give the name of its user, too",
			file)}
	case whole || name == "":
		return &user{name, password}, nil
	case file != "":
		password, err := passwordIn(file)
		return &user{name, password}, err
	}
	password, err := s.ask(prompt)
	return &user{name, password}, err
}

const mostPassword = 4 << 10 // bytes of a file

// passwordIn returns the content of a file, without a line end at its end.
func passwordIn(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, mostPassword))
	text, _ := strings.CutSuffix(string(b), "\n")
	text, _ = strings.CutSuffix(text, "\r")
	if err == nil && (text == "" || len(b) == mostPassword) {
		err = fmt.Errorf("%s holds no password of 1 to %d bytes", file, mostPassword-1)
	}
	return text, err
}

// tls returns the configuration of the files that were given, nil when none were.
func (s *session) tls() (*tls.Config, error) {
	cert, key, ca := s.given("cert-file"), s.given("key-file"), s.given("ca-file")
	if cert == "" && key == "" && ca == "" {
		return nil, nil
	}
	if (cert == "") != (key == "") {
		given, missing := "cert-file", "key-file"
		if cert == "" {
			given, missing = missing, given
		}
		return nil, &failure{statusWrong, fmt.Sprintf("--%s=%s needs --%s: give both", given, cert+key, missing)}
	}
	set, err := certs.Load(certs.Files{Cert: cert, Key: key, CA: ca}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	return set.Client(), nil
}

// unsynced returns a client that knows only the given endpoints. It waits for each of them for
// patience, or for --timeout if that is longer.
func (s *session) unsynced(patience time.Duration) (*client.Client, error) {
	endpoints, err := s.endpoints()
	if err != nil {
		return nil, err
	}
	cfg, err := s.userConfig(endpoints)
	if err != nil {
		return nil, err
	}
	cfg.Timeout = max(cfg.Timeout, patience)
	return client.New(cfg)
}

// cluster returns a client of all members, or with --no-sync one of the given endpoints.
func (s *session) cluster() (*client.Client, error) {
	c, err := s.unsynced(0)
	if err != nil || s.global.on("no-sync") {
		return c, err
	}
	debug := io.Discard
	if s.global.on("debug") {
		debug = s.stderr
	}
	fmt.Fprintf(debug, "start to sync cluster using endpoints(%s)\n", strings.Join(c.Endpoints(), ","))
	if err := c.Sync(s.ctx); err != nil {
		return nil, &failure{statusUnreachable, "Error:  " + described(err)}
	}
	fmt.Fprintf(debug, "got endpoints(%s) after sync\n", strings.Join(c.Endpoints(), ","))
	fmt.Fprintf(debug, "Cluster-Endpoints: %s\n", strings.Join(c.Endpoints(), ", "))
	return c, nil
}

// ask prompts the user for a line that the terminal does not show.
func (s *session) ask(prompt string) (string, error) {
	fmt.Fprint(s.stdout, prompt)
	if isTerminal(s.in) {
		s.stty("-echo")
		defer s.stty("echo")
	}
	line, err := s.stdin.ReadString('\n')
	fmt.Fprintln(s.stdout)
	if err != nil && err != io.EOF {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// stty changes the mode of the terminal. Without that program the line is shown; all else works.
func (s *session) stty(mode string) {
	cmd := exec.Command("stty", mode)
	cmd.Stdin = s.in
	cmd.Run()
}

// seconds returns n seconds, 0 when n is negative.
func seconds(n int64) time.Duration { return time.Duration(max(0, n)) * time.Second }
