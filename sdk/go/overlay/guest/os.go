// SPDX-License-Identifier: Apache-2.0

//go:build wasip1

package os

// hostname is the pod's name, as in any pod.
func hostname() (string, error) {
	if name := Getenv("HOSTNAME"); name != "" {
		return name, nil
	}
	if text, err := ReadFile("/etc/hostname"); err == nil {
		for len(text) > 0 && (text[len(text)-1] == '\n' || text[len(text)-1] == ' ') {
			text = text[:len(text)-1]
		}
		if len(text) > 0 {
			return string(text), nil
		}
	}
	return dormouseHostname()
}
