package discovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"etcd2/http/client"
	"etcd2/raft"
)

// Why a discovery URL gives no cluster.
var (
	ErrBadEndpoint   = errors.New("discovery: bad discovery endpoint")
	ErrBadSize       = errors.New("discovery: size key is bad")
	ErrFull          = errors.New("discovery: cluster is full")
	ErrNoToken       = errors.New("discovery: the token is not known to the service")
	ErrService       = errors.New("discovery: the service does not answer")
	ErrForbidden     = errors.New("discovery: the service refuses")
	ErrDuplicateName = errors.New("member with duplicated name has registered with discovery service token")
	ErrRegistration  = errors.New("discovery: a registration is not that of a member")
)

// MaxSize is the greatest size of a cluster that begins at a discovery URL or in the DNS.
const MaxSize = 100

// Time limits for a discovery service, which may be busy and far away.
const (
	serviceTimeout = 5 * time.Second  // of one answer, or between its pieces
	silenceTimeout = 2 * time.Minute  // with one that gives none
	maxPause       = 16 * time.Second // between two tries
	watchTime      = 30 * time.Second // of a watch, before the registrations are read again
)

// ParseService checks a discovery URL: that of a directory of keys in which the members of one
// cluster find each other. It may be below /v2/keys of any etcd, or come from a discovery service.
func ParseService(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("want a URL, as http://HOST:PORT/discovery/TOKEN")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("the scheme must be http or https")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("want nothing in the URL but host, port and path")
	case strings.Trim(u.Path, "/") == "" || path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/"):
		return nil, errors.New("there is no token in the path of the URL")
	}
	return u, nil
}

// A search is that of one member for its cluster, at a discovery service. All its state is at the
// service: whichever step fails, or is interrupted by a crash, the next look at the registrations
// shows what is left to do.
type search struct {
	Newcomer
	service *client.Client
	host    string
	token   string // the URL as it was given: part of every id
	id      string // this member's, in hex: its key
	value   string // and its value

	readOnly bool // registers nothing

	answered time.Time     // when the service answered last
	pause    time.Duration // after a try without an answer
	logged   string        // who was there when the log was told last
}

// A roll is the registrations at one moment.
type roll struct {
	size    int
	index   uint64         // of the service's store
	members []registration // in the order in which they came
}

// A registration is the key and value of one member. The first ones, as many as the size, are the
// cluster.
type registration struct{ id, value string }

// Token finds the other founders of a cluster at a discovery URL: the first that register, up to
// the size that was set there. A member that comes again, with the same name and peer URLs, has the
// same place. A member that comes when the cluster is full gets a Plan for a proxy. (API section
// 21.2)
//
// It waits for the others without a limit, and for a service that does not answer until
// silenceTimeout. Requests go through the HTTP proxy via, if it is not nil.
func (n Newcomer) Token(ctx context.Context, token string, via *url.URL) (Plan, error) {
	if err := reachable([]raft.Member{{PeerURLs: n.PeerURLs}}); err != nil {
		return Plan{}, err
	}
	s, err := n.search(token, via)
	if err != nil {
		return Plan{}, err
	}
	defer s.service.Close()
	members, err := s.gather(ctx)
	if err != nil {
		return Plan{}, fmt.Errorf("failed to join discovery cluster (%w)", err)
	}
	m, err := cluster(members, token)
	if err != nil {
		return Plan{}, err
	}
	if !slices.ContainsFunc(members, s.isSelf) {
		return Plan{Cluster: m, Proxy: true}, nil
	}
	p, err := n.found(ctx, m)
	if errors.Is(err, ErrActive) {
		err = fmt.Errorf("member %q has previously registered with discovery service token (%s): %w",
			n.Name, token, err)
	}
	return p, err
}

func (n Newcomer) search(token string, via *url.URL) (*search, error) {
	u, err := ParseService(token)
	if err != nil {
		return nil, err
	}
	cfg := client.Config{Endpoints: []string{u.Scheme + "://" + u.Host}, KeysPath: u.Path, Timeout: serviceTimeout,
		MaxAnswerBytes: maxBody}
	if via != nil {
		cfg.Proxy = http.ProxyURL(via)
	}
	service, err := client.New(cfg)
	if err != nil {
		return nil, err
	}
	urls := slices.Sorted(slices.Values(n.PeerURLs))
	var parts []string
	for _, peerURL := range urls {
		parts = append(parts, n.Name+"="+peerURL)
	}
	return &search{
		Newcomer: n, service: service, host: u.Host, token: token,
		id:       strconv.FormatUint(MemberID(urls, token), 16),
		value:    strings.Join(parts, ","),
		answered: time.Now(),
	}, nil
}

func (s *search) isSelf(r registration) bool { return r.id == s.id }

// gather returns the registrations of all founders of the cluster. This member's is among them,
// unless the cluster was full before it came: then it registers nothing.
func (s *search) gather(ctx context.Context) ([]registration, error) {
	for {
		r, err := s.look(ctx)
		if err == nil {
			s.answered, s.pause = time.Now(), 0
			first := r.members[:min(len(r.members), r.size)]
			registered := slices.ContainsFunc(r.members, s.isSelf)
			switch {
			case len(first) == r.size:
				s.logFound(first, r.size)
				return first, nil
			case registered || s.readOnly:
				s.logFound(first, r.size)
				err = s.wait(ctx, r.index)
			default:
				err = s.register(ctx)
			}
		}
		if err := s.afterStep(ctx, err); err != nil {
			return nil, err
		}
	}
}

// look reads the size and the registrations. (API section 21.2, steps 1 and 3)
func (s *search) look(ctx context.Context) (r roll, err error) {
	size, err := s.service.Get(ctx, "_config/size", client.GetOptions{})
	if err != nil {
		return r, err
	}
	if r.size, err = strconv.Atoi(size.Node.Value); err != nil || r.size < 1 || r.size > MaxSize {
		return r, fmt.Errorf("%w: want a number from 1 to %d, found %s", ErrBadSize, MaxSize, quoted(size.Node.Value))
	}
	all, err := s.service.Get(ctx, "", client.GetOptions{})
	if err != nil {
		return r, err
	}
	byAge := func(a, b *client.Node) int { return cmp.Compare(a.CreatedIndex, b.CreatedIndex) }
	for _, n := range slices.SortedFunc(slices.Values(all.Node.Nodes), byAge) {
		if id := path.Base(n.Key); id != "_config" && !n.Dir {
			r.members = append(r.members, registration{id, n.Value})
		}
	}
	r.index = all.Index
	return r, s.sameName(r.members)
}

// sameName refuses a registration of the same URLs under another name.
func (s *search) sameName(members []registration) error {
	for _, r := range members {
		if s.isSelf(r) && r.value != s.value {
			return fmt.Errorf("%w: that of the own peer URLs is %s, where %q is to be", ErrRegistration,
				quoted(r.value), s.value)
		}
	}
	return nil
}

// register registers this member. It is no error if it is registered already. (API section 21.2,
// step 2)
func (s *search) register(ctx context.Context) error {
	_, err := s.service.Create(ctx, s.id, s.value, client.SetOptions{})
	if client.IsKeyExists(err) || errors.Is(err, client.ErrUnknown) && !errors.Is(err, client.ErrBadAnswer) {
		return nil // the next look shows whether it is registered
	}
	return err
}

// wait returns when a member has registered, or the registrations must be read again. (API section
// 21.2, step 4)
func (s *search) wait(ctx context.Context, index uint64) error {
	waiting, cancel := context.WithTimeout(ctx, watchTime)
	defer cancel()
	w := s.service.Watch("", client.WatchOptions{AfterIndex: index, Recursive: true, Patience: time.Nanosecond})
	defer w.Close()
	_, err := w.Next(waiting)
	if client.IsHistoryCleared(err) || waiting.Err() != nil && ctx.Err() == nil {
		return nil
	}
	return err
}

// afterStep decides what follows a step: nil for another one, perhaps after a pause, or the error
// that ends the search.
func (s *search) afterStep(ctx context.Context, err error) error {
	var refusal *client.Error
	isRefusal := errors.As(err, &refusal)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		// a pause in any case, so that no answer of the service makes this loop fast
		return s.sleep(ctx, cmp.Or(s.Newcomer.pause, 100*time.Millisecond))
	case errors.Is(err, ErrBadSize), errors.Is(err, ErrRegistration):
		return err
	case client.IsKeyNotFound(err):
		return noToken(clean(alone(err).Error()))
	case client.IsUnauthorized(err) && !errors.Is(err, client.ErrBadAnswer):
		return fmt.Errorf("%w: %s", ErrForbidden, clean(alone(err).Error()))
	case isRefusal && refusal.Status/100 != 5 && refusal.Status != http.StatusTooManyRequests, !isRefusal &&
		(errors.Is(err, client.ErrBadAnswer) || errors.Is(err, client.ErrTooLong)):
		return fmt.Errorf("%w: %s", ErrBadEndpoint, clean(alone(err).Error()))
	case time.Since(s.answered) > cmp.Or(s.timeout, silenceTimeout):
		return fmt.Errorf("%w: %s", ErrService, clean(alone(err).Error()))
	}
	s.pause = min(max(2*s.pause, cmp.Or(s.Newcomer.pause, time.Second)), maxPause)
	s.Logger.Warn(fmt.Sprintf("cluster status check: error connecting to %s, retrying in %v", s.host, s.pause),
		"err", clean(alone(err).Error()))
	return s.sleep(ctx, s.pause)
}

// noToken is ErrNoToken with the text of the service.
type noToken string

// Error returns the text of the service.
func (text noToken) Error() string { return string(text) }

// Is makes errors.Is(err, ErrNoToken) true.
func (noToken) Is(target error) bool { return target == ErrNoToken }

func (s *search) sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// logFound logs which members were found, and how many are missing.
func (s *search) logFound(members []registration, size int) {
	var values []string
	for _, r := range members {
		values = append(values, clean(r.value))
	}
	all := strings.Join(values, " ")
	if all == s.logged {
		return
	}
	s.logged = all
	text := fmt.Sprintf("found %d needed peer(s)", size)
	if missing := size - len(members); missing > 0 {
		text = fmt.Sprintf("found %d peer(s), waiting for %d more", len(members), missing)
	}
	s.Logger.Info(text, slog.String("members", all))
}

// cluster makes the membership of the registrations. Each must have the id that follows from its
// URLs: with another id the members would disagree about the membership. (API section 21.2, step 5)
func cluster(members []registration, token string) (raft.Membership, error) {
	var values []string
	names := map[string]string{}
	for _, r := range members {
		one, err := Static(r.value, token)
		switch {
		case err != nil:
			return raft.Membership{}, fmt.Errorf("%w: %s: %s", ErrRegistration, quoted(r.id), clean(err.Error()))
		case len(one.Members) != 1:
			return raft.Membership{}, fmt.Errorf("%w: %s holds %d names", ErrRegistration, quoted(r.id),
				len(one.Members))
		case strconv.FormatUint(one.Members[0].ID, 16) != r.id:
			return raft.Membership{},
				fmt.Errorf("%w: %s is not the id of %s: has it used another text of the discovery URL?",
					ErrRegistration, quoted(r.id), quoted(r.value))
		}
		name := one.Members[0].Name
		if other, taken := names[name]; taken {
			return raft.Membership{}, fmt.Errorf("%w(%s): %s, as %s and %s", ErrDuplicateName, token, quoted(name),
				quoted(other), quoted(r.value))
		}
		names[name] = r.value
		values = append(values, r.value)
	}
	m, err := Static(strings.Join(values, ","), token)
	if err != nil {
		return m, fmt.Errorf("%w: %s", ErrRegistration, clean(err.Error()))
	}
	return m, nil
}

const maxForeign = 200 // bytes of another program's text in an error or log line

// clean makes a text of another program fit for one line.
func clean(text string) string {
	if len(text) > maxForeign {
		text = text[:maxForeign] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

func quoted(text string) string { return strconv.Quote(clean(text)) }
