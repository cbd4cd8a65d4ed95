package client

import (
	"slices"
	"strings"
)

// MayCarry reports whether a password may go to target, a URL that need not be one of those given
// by the user: members advertise URLs, too. It may if (1) target was given, or (2) target is https,
// where the certificate is verified before the request is sent, or (3) no URL that was given is
// https. With (3) the user has accepted that the network sees the password. Otherwise a member that
// advertises http would lead the password of an https cluster out of TLS.
func MayCarry(given []string, target string) bool {
	return isSecure(target) || slices.Contains(given, target) || !slices.ContainsFunc(given, isSecure)
}

func isSecure(endpoint string) bool {
	scheme, _, _ := strings.Cut(endpoint, "://")
	return strings.EqualFold(scheme, "https")
}
