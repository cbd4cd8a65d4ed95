package client

import (
	"slices"
	"strings"
)

// MaySendPassword reports whether a password may be sent to target. The URL need not be one that
// the user gave: members advertise URLs, too. It may if (1) target was given, or (2) target is
// https, where the certificate is verified before the request is sent, or (3) no URL that was given
// is https. In case 3 the user has accepted that the network sees the password. Without this rule,
// a member that advertises http would make clients of an https cluster send it in plain text.
func MaySendPassword(given []string, target string) bool {
	return isSecure(target) || slices.Contains(given, target) || !slices.ContainsFunc(given, isSecure)
}

func isSecure(endpoint string) bool {
	scheme, _, _ := strings.Cut(endpoint, "://")
	return strings.EqualFold(scheme, "https")
}
