// SPDX-License-Identifier: Apache-2.0

// Package target is what the conformance tests ask: the API server itself, and the same API server through
// `dormouse proxy`, with the same token. Each claim is tested on both; a claim that holds directly has to hold
// through Dormouse.
package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// The names of the two targets, as they stand in the names of tests.
const (
	Direct   = "direct"
	Dormouse = "dormouse"
)

const proxyStart = time.Minute

// Target is one way to the API server.
type Target struct {
	Name       string
	Config     *rest.Config
	Client     kubernetes.Interface
	Dynamic    dynamic.Interface
	Kubeconfig string // Path.
}

// Pair is both ways to one API server, as one user who may do everything.
type Pair struct {
	Cluster  *harness.Cluster
	Direct   *Target
	Dormouse *Target
	Process  *harness.Process // `dormouse proxy`

	dir string
}

var shared struct {
	sync.Mutex
	pair *Pair
}

// Shared is a pair on the package's shared cluster, whose one `dormouse proxy` lives as long as that: its caches are
// as warm as the tests before left them. TestMain has to be harness.Main.
func Shared(t testing.TB) *Pair {
	t.Helper()
	c := harness.SharedCluster(t)
	shared.Lock()
	defer shared.Unlock()
	if shared.pair == nil {
		shared.pair = start(t, c, c.Kubeconfig, c.Dir, harness.StartSharedProcess)
	}
	p := shared.pair
	select {
	case <-p.Process.Done():
		t.Fatalf("dormouse proxy has ended:\n%s", p.Process.Tail())
	default:
	}
	return p
}

// Start is a pair of a test's own, with a proxy that reaches the API server by a kubeconfig of the test's choice.
func Start(t testing.TB, c *harness.Cluster, kubeconfig string) *Pair {
	t.Helper()
	return start(t, c, kubeconfig, t.TempDir(), harness.StartProcess)
}

func start(t testing.TB, c *harness.Cluster, kubeconfig, dir string, run func(testing.TB, harness.Command) *harness.Process) *Pair {
	t.Helper()
	binary := os.Getenv("DORMOUSE")
	if binary == "" {
		t.Fatal("DORMOUSE is not set: it names the dormouse binary, which `make build` builds")
	}
	p := &Pair{Cluster: c, dir: dir}
	if err := grantAll(t.Context(), c.Client); err != nil {
		t.Fatal(err)
	}
	written := filepath.Join(dir, "dormouse.kubeconfig")
	p.Process = run(t, harness.Command{Name: "dormouse proxy", Path: binary, Args: []string{
		"proxy", "--port", "0", "--kubeconfig", kubeconfig, "--write-kubeconfig", written,
	}})
	address := regexp.MustCompile(`https://[0-9.:]+`).FindString(p.Process.AwaitLine(t, `serving.*address=https://`, proxyStart))
	kube, err := clientcmd.LoadFromFile(written)
	if err != nil {
		t.Fatal(err)
	}
	var authority []byte
	for _, cluster := range kube.Clusters {
		authority = cluster.CertificateAuthorityData
	}
	via := rest.Config{Host: address, TLSClientConfig: rest.TLSClientConfig{CAData: authority}}
	direct := rest.Config{Host: c.Server, TLSClientConfig: rest.TLSClientConfig{CAData: c.Config.CAData}}
	token := p.Token(t, namespace, account)
	p.Direct = p.as(t, Direct, direct, token)
	p.Dormouse = p.as(t, Dormouse, via, token)
	return p
}

// Who the tests are.
const (
	namespace = "default"
	account   = "conformance"
)

func grantAll(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: account},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: namespace}},
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// Token is a new token of a ServiceAccount, good for an hour.
func (p *Pair) Token(t testing.TB, namespace, name string) string {
	t.Helper()
	seconds := int64(3600)
	request, err := p.Cluster.Client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("token of ServiceAccount %s/%s: %v", namespace, name, err)
	}
	return request.Status.Token
}

// As is the same pair as another user. An empty token: as nobody.
func (p *Pair) As(t testing.TB, token string) *Pair {
	t.Helper()
	q := *p
	q.dir = t.TempDir()
	q.Direct = q.as(t, Direct, rest.Config{Host: p.Direct.Config.Host, TLSClientConfig: p.Direct.Config.TLSClientConfig}, token)
	q.Dormouse = q.as(t, Dormouse, rest.Config{Host: p.Dormouse.Config.Host, TLSClientConfig: p.Dormouse.Config.TLSClientConfig}, token)
	return &q
}

func (p *Pair) as(t testing.TB, name string, config rest.Config, token string) *Target {
	t.Helper()
	config.QPS, config.Burst, config.UserAgent, config.BearerToken = -1, -1, "conformance-"+name, token
	target := &Target{Name: name, Config: &config, Kubeconfig: filepath.Join(p.dir, name+".user.kubeconfig")}
	var err error
	if target.Client, err = kubernetes.NewForConfig(&config); err != nil {
		t.Fatal(err)
	}
	if target.Dynamic, err = dynamic.NewForConfig(&config); err != nil {
		t.Fatal(err)
	}
	kube := api.Config{
		Clusters:       map[string]*api.Cluster{name: {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{name: {Token: token}},
		Contexts:       map[string]*api.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}
	if err := clientcmd.WriteToFile(kube, target.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	return target
}

// Over is a target's user by another address of the same server.
func (p *Pair) Over(t testing.TB, target *Target, config *rest.Config) *Target {
	t.Helper()
	q := *p
	q.dir = t.TempDir()
	return q.as(t, target.Name, rest.Config{Host: config.Host, TLSClientConfig: config.TLSClientConfig}, config.BearerToken)
}

// Both is the two targets, the direct one first.
func (p *Pair) Both() []*Target { return []*Target{p.Direct, p.Dormouse} }

// Each runs a claim on both, one after the other. CONFORMANCE_TARGETS=direct (or dormouse) leaves the other out.
func (p *Pair) Each(t *testing.T, claim func(t *testing.T, target *Target)) {
	for _, target := range p.Both() {
		t.Run(target.Name, func(t *testing.T) {
			if only := os.Getenv("CONFORMANCE_TARGETS"); only != "" && !strings.Contains(only, target.Name) {
				t.Skipf("only %s is asked for", only)
			}
			claim(t, target)
			if target.Name == Dormouse && t.Failed() {
				t.Logf("the end of dormouse proxy's output:\n%s", tail(p.Process.Tail(), 30))
			}
		})
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Namespace makes a namespace for one claim; it is deleted with it.
func (p *Pair) Namespace(t testing.TB) string {
	t.Helper()
	return p.Cluster.Namespace(t)
}

// Within is a context that ends with the claim, or with an error that says what was waited for.
func Within(t testing.TB, d time.Duration, what string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, errors.New("not within "+d.String()+": "+what))
	t.Cleanup(cancel)
	return ctx
}

// Status is an answer's code and reason, as a claim states them: "200", "410 Expired".
func Status(err error) string {
	if err == nil {
		return "200"
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return fmt.Sprintf("%d %s", status.Status().Code, status.Status().Reason)
	}
	return err.Error()
}
