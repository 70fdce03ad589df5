// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"encoding/pem"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// TokenGate stands before the API server, ends TLS, and answers 401 to the tokens it is told to: what a server does
// when a token's time is over, without ten minutes of waiting for it.
// Threads: safe from any goroutine.
type TokenGate struct {
	Kubeconfig string // Of a host that reaches the API server through the gate; its user may do everything.

	mutex   sync.Mutex
	seen    map[string]map[string]bool // By user: its tokens.
	expired map[string]bool
	refused int
}

// StartTokenGate starts one, until the test ends. The host's own user is ServiceAccount NAMESPACE/host, for a client
// certificate could not be passed on.
func (c *Cluster) StartTokenGate(t testing.TB, namespace string) *TokenGate {
	t.Helper()
	g := &TokenGate{seen: map[string]map[string]bool{}, expired: map[string]bool{}}
	target, err := url.Parse(c.Server)
	if err != nil {
		t.Fatal(err)
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(c.Config.CAData)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: authorities}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.refuses(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}`)) //nolint:errcheck
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})

	host := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "host", Namespace: namespace}}
	if _, err := c.Client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), host, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: namespace + "-host"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: "host", Namespace: namespace}},
	}
	if _, err := c.Client.RbacV1().ClusterRoleBindings().Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "host", tokenRequest(), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := api.Config{
		Clusters: map[string]*api.Cluster{"gate": {
			Server: server.URL, CertificateAuthorityData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		}},
		AuthInfos:      map[string]*api.AuthInfo{"host": {Token: token.Status.Token}},
		Contexts:       map[string]*api.Context{"gate": {Cluster: "gate", AuthInfo: "host", Namespace: namespace}},
		CurrentContext: "gate",
	}
	g.Kubeconfig = filepath.Join(t.TempDir(), "gate.kubeconfig")
	if err := clientcmd.WriteToFile(config, g.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	return g
}

// userOf reads whose token it is, without believing it.
func userOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	json.Unmarshal(payload, &claims) //nolint:errcheck // Empty: nobody's.
	return claims.Subject
}

func (g *TokenGate) refuses(token string) bool {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	user := userOf(token)
	if g.seen[user] == nil {
		g.seen[user] = map[string]bool{}
	}
	g.seen[user][token] = true
	if g.expired[token] {
		g.refused++
		return true
	}
	return false
}

// Expire makes all tokens of a user that were seen so far invalid; it returns how many there are.
func (g *TokenGate) Expire(user string) int {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	for token := range g.seen[user] {
		g.expired[token] = true
	}
	return len(g.seen[user])
}

// Refused is how many requests were answered 401.
func (g *TokenGate) Refused() int {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.refused
}

// Tokens is how many different tokens of a user were seen.
func (g *TokenGate) Tokens(user string) int {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return len(g.seen[user])
}
