package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// A Response is the result of a request, or an event of a watch.
type Response struct {
	Action   string `json:"action"`   // get, set, create, update, compareAndSwap, delete, compareAndDelete, expire
	Node     *Node  `json:"node"`     // as it is now; nil after NoValueOnSuccess
	PrevNode *Node  `json:"prevNode"` // as it was; nil when there was none

	// the header X-Etcd-Index, the store index of the member that answered; of an event, when the
	// watch began
	Index     uint64 `json:"-"`
	RaftIndex uint64 `json:"-"`
	ClusterID string `json:"-"`
}

// A Node is a file or a directory.
type Node struct {
	Key           string     `json:"key"` // the whole path, without a slash at the end; "" is the root
	Dir           bool       `json:"dir,omitempty"`
	Value         string     `json:"value"`
	Nodes         []*Node    `json:"nodes"` // in a directory that was asked for
	CreatedIndex  uint64     `json:"createdIndex"`
	ModifiedIndex uint64     `json:"modifiedIndex"`
	Expiration    *time.Time `json:"expiration,omitempty"` // by the clock of the cluster
	TTL           int64      `json:"ttl,omitempty"`        // seconds left, rounded up; 0: it does not expire

	More  uint64 `json:"more,omitempty"`  // children that the Limit of the request left out
	Count uint64 `json:"count,omitempty"` // children, when the request asked for their Count
}

// GetOptions are the options of Get and List.
type GetOptions struct {
	Recursive bool
	Sorted    bool   // by key; members of this program always sort
	Quorum    bool   // the answer includes every write that was acknowledged before
	MinIndex  uint64 // wait until the member's X-Etcd-Index is at least this; members of etcd ignore it

	// Which children of the directory are shown, and how. Members of etcd ignore these options, and
	// show all.
	Limit    uint64 // at most this many; 0: all
	After    string // only those after this name
	Prefix   string // only those whose names begin with it; hidden ones if it begins with an underscore
	KeysOnly bool   // without values
	Count    bool   // only how many there are; combines with After and Prefix
	Depth    uint64 // with Recursive: at most this many levels; 0: all
}

// Exist says what must be at a key before it is written.
type Exist int

// The conditions: anything is fine, there must be a node, there must be none.
const (
	ExistOrNot Exist = iota
	MustExist
	MustNotExist
)

// SetOptions are the options of all methods that write a node.
type SetOptions struct {
	PrevValue string // compare with the value; "": do not
	PrevIndex uint64 // compare with the ModifiedIndex; 0: do not
	PrevExist Exist

	TTL     time.Duration // after which the node expires, rounded up to seconds; 0 or less: never
	Dir     bool          // the node is a directory, and has no value
	Refresh bool          // give a TTL, keep the value, send no event to watchers

	NoValueOnSuccess bool // leave the nodes out of the answer

	// RequestID names the write, so that it can be sent again without being executed again: the
	// client then sends it to other endpoints, too. Members of this program never execute it twice:
	// one that has forgotten the first answer returns CodeExecuted, or an error that is ErrUnknown.
	// Members of etcd ignore names, and may execute the write twice. See NewRequestID.
	RequestID string

	// RequestIndex is for a caller that makes several calls with the same RequestID: the result of
	// LogIndex before the first of them. 0: the client uses the newest index that it knows.
	RequestIndex uint64
}

// DeleteOptions are the options of Delete.
type DeleteOptions struct {
	PrevValue string // as in SetOptions
	PrevIndex uint64
	Dir       bool // delete an empty directory, too
	Recursive bool // delete a directory with everything in it

	RequestID    string // as in SetOptions
	RequestIndex uint64
}

// A Condition is what CompareAndSwap and CompareAndDelete compare with; zero fields are not
// compared.
type Condition struct {
	Value string
	Index uint64 // ModifiedIndex
}

// NewRequestID returns a random name, which no other request has.
func NewRequestID() string { return rand.Text() }

// LogIndex returns the newest log index of the cluster that this client has seen in an answer; 0
// for none.
func (c *Client) LogIndex() uint64 { return c.logIndex.Load() }

// Get reads a file, or a directory with its children. Use List for directories that may have more
// than MaxAnswerBytes.
func (c *Client) Get(ctx context.Context, key string, o GetOptions) (*Response, error) {
	return c.key(ctx, &request{method: "GET", query: o.query()}, key)
}

// Set writes a node, whether it exists or not, unless the options say otherwise.
func (c *Client) Set(ctx context.Context, key, value string, o SetOptions) (*Response, error) {
	return c.write(ctx, "PUT", key, value, o)
}

// Create writes a node that must not exist.
func (c *Client) Create(ctx context.Context, key, value string, o SetOptions) (*Response, error) {
	o.PrevExist = MustNotExist
	return c.Set(ctx, key, value, o)
}

// Update writes a node that must exist. Without a TTL it no longer expires.
func (c *Client) Update(ctx context.Context, key, value string, o SetOptions) (*Response, error) {
	o.PrevExist = MustExist
	return c.Set(ctx, key, value, o)
}

// CreateInOrder makes a node in a directory, with a name that sorts after those of all nodes made
// so before.
func (c *Client) CreateInOrder(ctx context.Context, dir, value string, o SetOptions) (*Response, error) {
	return c.write(ctx, "POST", dir, value, o)
}

// CompareAndSwap writes a file if it is as expected.
func (c *Client) CompareAndSwap(ctx context.Context, key, value string, is Condition, o SetOptions) (*Response, error) {
	if is == (Condition{}) {
		return nil, ErrNoCondition
	}
	o.PrevValue, o.PrevIndex = is.Value, is.Index
	return c.Set(ctx, key, value, o)
}

// Mkdir makes a directory that must not exist.
func (c *Client) Mkdir(ctx context.Context, dir string, o SetOptions) (*Response, error) {
	o.Dir = true
	return c.Create(ctx, dir, "", o)
}

// Refresh gives an existing node a new time to live, and sends no event to watchers.
func (c *Client) Refresh(ctx context.Context, key string, ttl time.Duration, o SetOptions) (*Response, error) {
	o.Refresh, o.TTL = true, ttl
	return c.Update(ctx, key, "", o)
}

// Delete removes a file, or with one of the options a directory.
func (c *Client) Delete(ctx context.Context, key string, o DeleteOptions) (*Response, error) {
	query := url.Values{}
	text(query, "prevValue", o.PrevValue)
	number(query, "prevIndex", o.PrevIndex)
	flag(query, "dir", o.Dir)
	flag(query, "recursive", o.Recursive)
	return c.key(ctx, &request{method: "DELETE", query: query, name: o.RequestID, index: o.RequestIndex}, key)
}

// CompareAndDelete removes a file if it is as expected.
func (c *Client) CompareAndDelete(ctx context.Context, key string, is Condition, o DeleteOptions) (*Response, error) {
	if is == (Condition{}) {
		return nil, ErrNoCondition
	}
	o.PrevValue, o.PrevIndex = is.Value, is.Index
	return c.Delete(ctx, key, o)
}

// Rmdir removes an empty directory.
func (c *Client) Rmdir(ctx context.Context, dir string, o DeleteOptions) (*Response, error) {
	o.Dir = true
	return c.Delete(ctx, dir, o)
}

// write sends a PUT or POST. Values go into the body, since they may be long.
func (c *Client) write(ctx context.Context, method, key, value string, o SetOptions) (*Response, error) {
	query, form := url.Values{}, url.Values{}
	if !o.Dir && !o.Refresh {
		form.Set("value", value)
	}
	text(form, "prevValue", o.PrevValue)
	number(form, "ttl", seconds(o.TTL))
	number(query, "prevIndex", o.PrevIndex)
	if o.PrevExist != ExistOrNot {
		query.Set("prevExist", strconv.FormatBool(o.PrevExist == MustExist))
	}
	flag(query, "dir", o.Dir)
	flag(query, "refresh", o.Refresh)
	flag(query, "noValueOnSuccess", o.NoValueOnSuccess)
	return c.key(ctx, &request{method: method, query: query, form: form, name: o.RequestID, index: o.RequestIndex}, key)
}

func seconds(d time.Duration) uint64 {
	return uint64(max(0, (d+time.Second-1)/time.Second))
}

func text(values url.Values, name, value string) {
	if value != "" {
		values.Set(name, value)
	}
}

func number(values url.Values, name string, n uint64) {
	if n > 0 {
		values.Set(name, strconv.FormatUint(n, 10))
	}
}

func flag(values url.Values, name string, b bool) {
	if b {
		values.Set(name, "true")
	}
}

// key sends a request of the keys API.
func (c *Client) key(ctx context.Context, r *request, key string) (resp *Response, err error) {
	if r.path, err = c.pathOf(key); err != nil {
		return nil, err
	}
	brief := r.query.Has("noValueOnSuccess")
	r.read = func(a *answer) error {
		resp = a.response()
		err := a.decode(resp)
		if err == nil && (resp.Action == "" || resp.Node == nil && !brief) {
			err = fmt.Errorf("%w: status %d, without a node", ErrBadAnswer, a.status)
		}
		return err
	}
	if _, err := c.do(ctx, r); err != nil {
		return nil, err
	}
	return resp, nil
}

// response returns the part of a Response that is in the header.
func (a *answer) response() *Response {
	return &Response{
		Index:     headerNumber(a.header, "X-Etcd-Index"),
		RaftIndex: headerNumber(a.header, "X-Raft-Index"),
		ClusterID: a.header.Get("X-Etcd-Cluster-Id"),
	}
}

func headerNumber(h http.Header, name string) uint64 {
	n, _ := strconv.ParseUint(h.Get(name), 10, 64) // 0 when it is missing
	return n
}

// pathOf returns the URL path of a key, not escaped. Slashes separate its elements. Empty elements
// are left out, but a slash at the end is kept: rights may depend on it. All other characters are
// part of a name, and are escaped when it is sent.
func (c *Client) pathOf(key string) (string, error) {
	path := c.cfg.KeysPath
	for element := range strings.SplitSeq(key, "/") {
		switch element {
		case "":
		case ".", "..":
			return "", fmt.Errorf("%w: %q", ErrBadKey, key)
		default:
			path += "/" + element
		}
	}
	if strings.HasSuffix(key, "/") {
		path += "/"
	}
	return path, nil
}
