// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"dormouse.dev/e2e/harness"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// cacheProxy is a `dormouse proxy`, through which native clients share one watch with bearer tokens of their own.
func cacheProxy(t testing.TB, c *harness.Cluster) string {
	t.Helper()
	proxy := harness.StartDormouse(t, c, []string{"proxy", "--port", "0", "--log-level", "debug"})
	line := proxy.AwaitLine(t, `serving.*address=http://127\.0\.0\.1:\d+`, long)
	return regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(line)
}

// reader is a ServiceAccount that may do this with ConfigMaps of its namespace, and its token.
func reader(t testing.TB, c *harness.Cluster, ns, name string, verbs ...string) string {
	t.Helper()
	c.Apply(t, ns, fmt.Sprintf(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: %[1]s}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: %[1]s}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [%[2]s]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %[1]s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %[1]s}
subjects: [{kind: ServiceAccount, name: %[1]s}]
`, name, strings.Join(verbs, ", ")))
	token, err := c.Client.CoreV1().ServiceAccounts(ns).CreateToken(context.Background(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// watching is an open watch whose lines come one by one; closed when the stream has ended.
func watching(t testing.TB, url, token string) (int, <-chan string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		defer response.Body.Close()
		scanner := bufio.NewScanner(response.Body)
		scanner.Buffer(nil, 16<<20)
		for scanner.Scan() {
			lines <- scanner.Text()
		}
	}()
	return response.StatusCode, lines
}

func awaitEvent(t testing.TB, lines <-chan string, part string, within time.Duration) {
	t.Helper()
	deadline := time.After(within)
	for {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatalf("the stream ended before an event with %s came", part)
			}
			if strings.Contains(line, part) {
				return
			}
		case <-deadline:
			t.Fatalf("no event with %s within %v", part, within)
		}
	}
}

// openWatches is how many watches of a resource the API server serves within namespaces.
func openWatches(t testing.TB, c *harness.Cluster, resource string) int {
	t.Helper()
	text, err := c.Client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`apiserver_longrunning_requests\{[^}]*resource="` + resource + `",scope="namespace"[^}]*verb="WATCH"[^}]*\} (\d+)`).FindStringSubmatch(string(text))
	if found == nil {
		return 0
	}
	count, _ := strconv.Atoi(found[1])
	return count
}

const initialState = "?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"

func TestManyWatchersAreOneUpstreamWatch(t *testing.T) {
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	proxy := cacheProxy(t, c)
	url := proxy + "/api/v1/namespaces/" + ns + "/configmaps" + initialState
	before := openWatches(t, c, "configmaps")
	var streams []<-chan string
	for i := range 5 {
		token := reader(t, c, ns, fmt.Sprintf("reader-%d", i), "list", "watch")
		status, lines := watching(t, url, token)
		if status != http.StatusOK {
			t.Fatalf("watcher %d: %d", i, status)
		}
		awaitEvent(t, lines, "k8s.io/initial-events-end", long)
		streams = append(streams, lines)
	}
	c.Apply(t, ns, `{apiVersion: v1, kind: ConfigMap, metadata: {name: seen-by-all}}`)
	for _, lines := range streams {
		awaitEvent(t, lines, `"seen-by-all"`, long)
	}
	if after := openWatches(t, c, "configmaps"); after != before+1 {
		t.Errorf("five watchers are %d watches at the API server, not one", after-before)
	}
}

func TestRevokedRightsEndAWatchWithinThirtySecondsAndOthersGoOn(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	url := cacheProxy(t, c) + "/api/v1/namespaces/" + ns + "/configmaps" + initialState
	_, stays := watching(t, url, reader(t, c, ns, "stays", "list", "watch"))
	awaitEvent(t, stays, "k8s.io/initial-events-end", long)
	token := reader(t, c, ns, "leaves", "list", "watch")
	_, leaves := watching(t, url, token)
	awaitEvent(t, leaves, "k8s.io/initial-events-end", long)
	if err := c.Client.RbacV1().RoleBindings(ns).Delete(context.Background(), "leaves", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	deadline := time.After(30 * time.Second)
	for open := true; open; {
		select {
		case _, open = <-leaves:
		case <-deadline:
			t.Fatal("30 s after its right was revoked the watch is still open")
		}
	}
	t.Logf("the watch ended %v after its right was revoked", time.Since(revoked).Round(time.Millisecond))
	if status, _ := watching(t, url, token); status != http.StatusForbidden {
		t.Errorf("a new watch without the right is answered %d", status)
	}
	c.Apply(t, ns, `{apiVersion: v1, kind: ConfigMap, metadata: {name: afterwards}}`)
	awaitEvent(t, stays, `"afterwards"`, long)
}

func TestWhoMayNotSeesForbiddenThoughAnotherHasItCached(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	base := cacheProxy(t, c) + "/api/v1/namespaces/" + ns + "/configmaps"
	_, lines := watching(t, base+initialState, reader(t, c, ns, "may", "list", "watch"))
	awaitEvent(t, lines, "k8s.io/initial-events-end", long)
	token := reader(t, c, ns, "may-not", "get")
	for _, query := range []string{"", "?resourceVersion=0", "?watch=true&resourceVersion=0", initialState} {
		status, lines := watching(t, base+query, token)
		if status != http.StatusForbidden {
			t.Errorf("%q is answered %d to one who may only get", query, status)
		}
		if line := <-lines; !strings.Contains(line, "cannot") && !strings.Contains(line, `"kind":"Status"`) && line != "{" {
			t.Errorf("%q: the API server's own words are missing: %s", query, line)
		}
	}
}

func TestWhatAClientHasWrittenItReadsFromTheCache(t *testing.T) {
	t.Parallel()
	c := harness.SharedCluster(t)
	ns := c.Namespace(t)
	proxy := cacheProxy(t, c)
	token := reader(t, c, ns, "writer", "list", "watch", "create")
	_, lines := watching(t, proxy+"/api/v1/namespaces/"+ns+"/configmaps"+initialState, token)
	awaitEvent(t, lines, "k8s.io/initial-events-end", long)
	// JSON, as the watch is: what is held in one encoding answers no reads in the other, and the API server's own cache may be behind.
	json := rest.ContentConfig{AcceptContentTypes: "application/json", ContentType: "application/json"}
	client := kubernetes.NewForConfigOrDie(&rest.Config{Host: proxy, BearerToken: token, QPS: 1000, Burst: 1000, ContentConfig: json})
	audit := c.Audit(t)
	for i := range 50 {
		name := fmt.Sprintf("w-%d", i)
		object := metav1.ObjectMeta{Name: name}
		if _, err := client.CoreV1().ConfigMaps(ns).Create(context.Background(), &corev1.ConfigMap{ObjectMeta: object}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		list, err := client.CoreV1().ConfigMaps(ns).List(context.Background(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, item := range list.Items {
			found = found || item.Name == name
		}
		if !found {
			t.Fatalf("%s was written, and a list from the cache right after does not have it", name)
		}
	}
	user := harness.ServiceAccountUser(ns, "writer")
	audit.Await(t, harness.Filter{User: user, Verb: "create", Resource: "configmaps", Namespace: ns, Code: 201}, 50, long)
	if lists := audit.Events(t, harness.Filter{User: user, Verb: "list", Resource: "configmaps", Namespace: ns}); len(lists) != 0 {
		t.Errorf("%d lists were not answered by the cache, such as %s", len(lists), lists[0].RequestURI)
	}
}

func TestAnAPIServerThatIsRestartedEndsNoSharedWatch(t *testing.T) {
	t.Parallel()
	c := harness.StartCluster(t)
	ns := c.Namespace(t)
	url := cacheProxy(t, c) + "/api/v1/namespaces/" + ns + "/configmaps" + initialState
	_, first := watching(t, url, reader(t, c, ns, "first", "list", "watch"))
	awaitEvent(t, first, "k8s.io/initial-events-end", long)
	_, second := watching(t, url, reader(t, c, ns, "second", "list", "watch"))
	awaitEvent(t, second, "k8s.io/initial-events-end", long)
	// The second has been told a revision that the cache's own watch may not have reached yet; who is between two revisions of the
	// cache when the server's history is gone gets 410, for what came and went there is unknown (docs/design/0006).
	c.Apply(t, ns, `{apiVersion: v1, kind: ConfigMap, metadata: {name: before-the-restart}}`)
	awaitEvent(t, first, `"before-the-restart"`, long)
	awaitEvent(t, second, `"before-the-restart"`, long)
	c.RestartAPIServer(t)
	c.Apply(t, ns, `{apiVersion: v1, kind: ConfigMap, metadata: {name: after-the-restart}}`)
	awaitEvent(t, first, `"after-the-restart"`, time.Minute)
	awaitEvent(t, second, `"after-the-restart"`, time.Minute)
}
