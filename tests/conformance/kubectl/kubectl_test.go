// SPDX-License-Identifier: Apache-2.0

// Package kubectl uses kubectl's everyday verbs on the API server and through `dormouse proxy`: each step has the same
// outcome on both, and the same as is written here.
package kubectl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"dormouse.dev/conformance/target"
	"dormouse.dev/e2e/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const soon = 60 * time.Second

// user is somebody at a shell, in a namespace and an empty folder.
type user struct {
	t  *testing.T
	to *target.Target
	ns string
	// The folder that kubectl's files are in; a discovery cache is kept there, as on anyone's machine.
	dir string
}

// Each claim has a user for each target.
func each(t *testing.T, claim func(t *testing.T, u *user)) {
	t.Parallel()
	pair := target.Shared(t)
	pair.Each(t, func(t *testing.T, to *target.Target) {
		u := &user{t, to, pair.Namespace(t), t.TempDir()}
		claim(t, u)
	})
}

func (u *user) command(ctx context.Context, args ...string) *exec.Cmd {
	binary := os.Getenv("TESTCLUSTER")
	if binary == "" {
		u.t.Fatal("TESTCLUSTER is not set: it names the testcluster binary, which scripts/setup testcluster builds")
	}
	command := exec.CommandContext(ctx, binary, append([]string{"kubectl", "--kubeconfig", u.to.Kubeconfig, "--namespace", u.ns, "--cache-dir", filepath.Join(u.dir, "cache")}, args...)...)
	command.Dir = u.dir
	command.Env = append(os.Environ(), "HOME="+u.dir)
	command.WaitDelay = 5 * time.Second
	return command
}

// try runs kubectl and returns its exit code and what it wrote.
func (u *user) try(stdin string, args ...string) (code int, output string) {
	u.t.Helper()
	command := u.command(target.Within(u.t, soon, "kubectl "+strings.Join(args, " ")), args...)
	command.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		u.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out.String())
	}
	return command.ProcessState.ExitCode(), out.String()
}

// does runs kubectl, which has to succeed with an output that matches.
func (u *user) does(pattern string, args ...string) string {
	u.t.Helper()
	return u.feeds("", pattern, args...)
}

// feeds is does with a standard input.
func (u *user) feeds(stdin, pattern string, args ...string) string {
	u.t.Helper()
	code, output := u.try(stdin, args...)
	if code != 0 || !regexp.MustCompile(pattern).MatchString(output) {
		u.t.Errorf("kubectl %s: exit code %d, want output that matches %q:\n%s", strings.Join(args, " "), code, pattern, output)
	}
	return output
}

// fails is does with another exit code.
func (u *user) fails(code int, stdin, pattern string, args ...string) {
	u.t.Helper()
	got, output := u.try(stdin, args...)
	if got != code || !regexp.MustCompile(pattern).MatchString(output) {
		u.t.Errorf("kubectl %s: exit code %d, want %d and output that matches %q:\n%s", strings.Join(args, " "), got, code, pattern, output)
	}
}

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "example.com/web:1"}]}
`

func TestApplyGetDescribeDelete(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		u.feeds(deployment, `deployment.apps/web created`, "apply", "-f", "-")
		u.feeds(deployment, `deployment.apps/web unchanged`, "apply", "-f", "-")
		u.feeds(strings.Replace(deployment, "web:1", "web:2", 1), `deployment.apps/web configured`, "apply", "-f", "-")
		u.does(`^NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +0/2 `, "get", "deployments")
		u.does(`example.com/web:2`, "get", "deployment", "web", "-o", "wide")
		u.does(`^example.com/web:2$`, "get", "deployment/web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
		u.does(`kind: Deployment`, "get", "deploy", "web", "-o", "yaml")
		u.does(`(?s)"kind": "List".*`, "get", "deploy,svc", "-o", "json")
		u.does(`^deployment.apps/web\n$`, "get", "deployments", "-l", "app=web", "-o", "name")
		u.does(`No resources found`, "get", "deployments", "-l", "app=other")
		u.does(`(?s)Name: +web.*Replicas: +2 desired.*Events`, "describe", "deployment", "web")
		u.does(`deployment.apps "web" deleted`, "delete", "deployment", "web")
		u.fails(1, "", `\(NotFound\): deployments.apps "web" not found`, "get", "deployment", "web")
		u.fails(1, "", `doesn't have a resource type "nonsense"`, "get", "nonsense")
	})
}

func TestServerSideApplyAndItsConflicts(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		u.feeds(deployment, `deployment.apps/web serverside-applied`, "apply", "--server-side", "-f", "-")
		u.feeds(deployment, `deployment.apps/web serverside-applied`, "apply", "--server-side", "-f", "-")
		other := strings.Replace(deployment, "replicas: 2", "replicas: 3", 1)
		u.fails(1, other, `(?s)conflict.*\.spec\.replicas`, "apply", "--server-side", "--field-manager=other", "-f", "-")
		u.feeds(other, `serverside-applied`, "apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-")
		u.does(`^3$`, "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}")
		u.does(`manager: other`, "get", "deployment", "web", "-o", "yaml", "--show-managed-fields")
		u.feeds(deployment, `serverside-applied \(server dry run\)`, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-")
		u.does(`^3$`, "get", "deployment", "web", "-o", "jsonpath={.spec.replicas}")
	})
}

func TestDiffTellsOfChangesByItsExitCode(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		u.feeds(deployment, `created`, "apply", "-f", "-")
		u.feeds(deployment, `^$`, "diff", "-f", "-")
		u.fails(1, strings.Replace(deployment, "web:1", "web:9", 1), `(?s)-.*example.com/web:1.*\+.*example.com/web:9`, "diff", "-f", "-")
		u.fails(1, strings.Replace(deployment, "replicas: 2", "replicas: 5", 1), `\+  replicas: 5`, "diff", "--server-side", "-f", "-")
	})
}

func TestScaleAndRollout(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		u.feeds(deployment, `created`, "apply", "-f", "-")
		u.does(`deployment.apps/web scaled`, "scale", "deployment", "web", "--replicas=0")
		// Without pods the controller's answer is all that is waited for.
		u.does(`(?s)deployment "web" successfully rolled out`, "rollout", "status", "deployment/web", "--timeout=50s")
		u.does(`condition met`, "wait", "--for=condition=Available", "deployment/web", "--timeout=50s")
		u.does(`deployment.apps/web image updated`, "set", "image", "deployment/web", "web=example.com/web:3")
		u.does(`(?s)deployment "web" successfully rolled out`, "rollout", "status", "deployment/web", "--timeout=50s")
		u.does(`(?s)REVISION.*1 .*2 `, "rollout", "history", "deployment/web")
		u.does(`deployment.apps/web rolled back`, "rollout", "undo", "deployment/web")
		u.does(`^example.com/web:1$`, "get", "deployment", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
		u.does(`deployment.apps/web restarted`, "rollout", "restart", "deployment/web")
		u.does(`deployment.apps/web paused`, "rollout", "pause", "deployment/web")
		u.does(`deployment.apps/web resumed`, "rollout", "resume", "deployment/web")
		u.fails(1, "", `Expected replicas to be 7`, "scale", "deployment", "web", "--current-replicas=7", "--replicas=1")
		u.does(`horizontalpodautoscaler.autoscaling/web autoscaled`, "autoscale", "deployment", "web", "--max=3")
	})
}

func TestCreateLabelAnnotatePatchReplaceEdit(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		u.does(`configmap/c created`, "create", "configmap", "c", "--from-literal=key=value")
		u.fails(1, "", `already exists`, "create", "configmap", "c")
		u.does(`configmap/c labeled`, "label", "configmap", "c", "tier=front")
		u.fails(1, "", `already has a value \(front\)`, "label", "configmap", "c", "tier=back")
		u.does(`configmap/c labeled`, "label", "--overwrite", "configmap", "c", "tier=back")
		u.does(`^NAME +DATA +AGE +TIER\nc +1 +\S+ +back`, "get", "configmaps", "-L", "tier", "-l", "tier")
		u.does(`configmap/c unlabeled`, "label", "configmap", "c", "tier-")
		u.does(`configmap/c annotated`, "annotate", "configmap", "c", "note=x")
		u.does(`configmap/c patched`, "patch", "configmap", "c", "-p", `{"data":{"key":"merged"}}`)
		u.does(`configmap/c patched`, "patch", "configmap", "c", "--type=json", "-p", `[{"op":"test","path":"/data/key","value":"merged"},{"op":"add","path":"/data/more","value":"json"}]`)
		u.fails(1, "", `(?i)invalid|test failed|testing`, "patch", "configmap", "c", "--type=json", "-p", `[{"op":"test","path":"/data/key","value":"other"}]`)
		u.does(`^merged json$`, "get", "configmap", "c", "-o", "jsonpath={.data.key} {.data.more}")
		text := u.does(`kind: ConfigMap`, "get", "configmap", "c", "-o", "yaml")
		u.feeds(strings.Replace(text, "merged", "replaced", 1), `configmap/c replaced`, "replace", "-f", "-")
		u.fails(1, strings.Replace(text, "merged", "again", 1), `\(Conflict\)`, "replace", "-f", "-")
		u.does(`^replaced$`, "get", "configmap", "c", "-o", "jsonpath={.data.key}")
		u.does(`secret/s created`, "create", "secret", "generic", "s", "--from-literal=a=b")
		u.does(`(?s)Type: +Opaque.*a: +1 bytes`, "describe", "secret", "s")
		u.does(`namespace/`+u.ns+`-more created`, "create", "namespace", u.ns+"-more")
		u.does(`(?s)Status: +Active`, "describe", "namespace", u.ns+"-more")
		u.does(`"`+u.ns+`-more" deleted`, "delete", "namespace", u.ns+"-more", "--wait=false")
		u.does(`service/svc created`, "create", "service", "clusterip", "svc", "--tcp=80")
		u.does(`(?s)svc +ClusterIP`, "get", "all")
		u.does(`serviceaccount/robot created`, "create", "serviceaccount", "robot")
		u.does(`^ey[\w-]+\.[\w-]+\.[\w-]+\s*$`, "create", "token", "robot")
		u.does(`pod/p created`, "run", "p", "--image=example.com/p")
		u.does(`(?s)Pending`, "get", "pod", "p")
		u.does(`(?s)configmap "c" deleted.*secret "s" deleted`, "delete", "configmap/c", "secret/s")
	})
}

func TestExplainApiResourcesVersionsClusterInfoAuth(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		u.does(`(?s)KIND: +Deployment.*FIELDS:`, "explain", "deployment")
		u.does(`(?s)FIELD: strategy`, "explain", "deployment.spec.strategy")
		u.does(`(?s)rollingUpdate`, "explain", "deployment.spec.strategy", "--recursive")
		u.fails(1, "", `does not exist`, "explain", "deployment.spec.nonsense")
		u.does(`(?s)pods +po +v1 +true +Pod.*deployments +deploy +apps/v1`, "api-resources")
		u.does(`(?s)deployments.apps`, "api-resources", "--api-group=apps", "--verbs=watch", "-o", "name")
		u.does(`(?s)apps/v1\n.*rbac.authorization.k8s.io/v1\n`, "api-versions")
		u.does(`(?s)Client Version: v.*Server Version: v`, "version")
		u.does(`is running at`, "cluster-info")
		u.does(`^yes`, "auth", "can-i", "delete", "pods")
		u.fails(1, "", `^no`, "auth", "can-i", "delete", "pods", "--as=system:serviceaccount:default:nobody")
		u.does(`system:serviceaccount:default:conformance`, "auth", "whoami")
		u.does(`(?s)"major"`, "get", "--raw", "/version")
		u.does(`(?s)"kind": ?"ConfigMapList"`, "get", "--raw", "/api/v1/namespaces/"+u.ns+"/configmaps")
		u.does(`(?s)\[\+\]ping ok.*readyz check passed`, "get", "--raw", "/readyz?verbose")
	})
}

const crontab = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.GROUP}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Spec, type: string, jsonPath: .spec.when}]
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {when: {type: string, description: When it runs.}}}}}}
`

func TestACustomResourceFromDefinitionToDeletion(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		group := u.to.Name + ".kubectl.dormouse.dev"
		definition := strings.ReplaceAll(crontab, "GROUP", group)
		u.feeds(definition, `crontabs.\S+ created`, "create", "-f", "-")
		u.does(`condition met`, "wait", "--for=condition=Established", "crd/crontabs."+group, "--timeout=50s")
		object := fmt.Sprintf(`{"apiVersion":"%s/v1","kind":"CronTab","metadata":{"name":"nightly"},"spec":{"when":"22:00"}}`, group)
		u.feeds(object, `crontab.\S+/nightly created`, "apply", "-f", "-")
		u.does(`^NAME +SPEC\nnightly +22:00`, "get", "crontabs."+group)
		u.fails(1, strings.Replace(object, "when", "then", 1), `unknown field "spec.then"`, "apply", "-f", "-")
		u.does(`crontab.\S+/nightly patched`, "patch", "crontabs."+group, "nightly", "--type=merge", "-p", `{"spec":{"when":"23:00"}}`)
		u.does(`condition met`, "wait", "--for=jsonpath={.spec.when}=23:00", "crontabs."+group+"/nightly", "--timeout=50s")
		u.does(`"nightly" deleted`, "delete", "crontabs."+group, "--all")
		u.feeds(definition, `deleted`, "delete", "-f", "-")
		u.fails(1, "", `doesn't have a resource type|could not find the requested resource|NotFound`, "get", "crontabs."+group)
	})
}

// stream is a kubectl that stays.
type stream struct {
	u       *user
	process *harness.Process
}

func (u *user) stays(args ...string) *stream {
	u.t.Helper()
	c := u.command(context.Background(), args...)
	return &stream{u, harness.StartProcess(u.t, harness.Command{Name: "kubectl", Path: c.Path, Args: c.Args[1:], Dir: c.Dir, Env: []string{"HOME=" + u.dir}})}
}

func TestGetWatchShowsEachChange(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		u.does(`created`, "create", "configmap", "first")
		table := u.stays("get", "configmaps", "-w", "--output-watch-events")
		only := u.stays("get", "configmaps", "-w", "--watch-only", "-l", "in=yes", "-o", "name")
		one := u.stays("get", "configmap", "first", "-w", "-o", "jsonpath={.data.value}{\"\\n\"}")
		table.process.AwaitLine(t, `^EVENT +NAME +DATA +AGE`, soon)
		table.process.AwaitLine(t, `^ADDED +first +0`, soon)
		one.process.AwaitLine(t, `^$`, soon)
		u.does(`created`, "create", "configmap", "second", "--from-literal=a=b")
		table.process.AwaitLine(t, `^ADDED +second +1`, soon)
		u.does(`labeled`, "label", "configmap", "second", "in=yes")
		table.process.AwaitLine(t, `^MODIFIED +second +1`, soon)
		u.does(`patched`, "patch", "configmap", "first", "-p", `{"data":{"value":"seen"}}`)
		one.process.AwaitLine(t, `^seen$`, soon)
		u.does(`deleted`, "delete", "configmap", "second")
		table.process.AwaitLine(t, `^DELETED +second`, soon)
		for _, line := range only.process.Lines() {
			if line.Text != "configmap/second" {
				t.Errorf("a watch of another selection shows %q", line.Text)
			}
		}
	})
}

func TestWaitEndsWhenItsConditionComes(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		created := u.stays("wait", "--for=create", "configmap/late", "--timeout=50s")
		u.does(`created`, "create", "configmap", "late")
		if code := created.process.AwaitExit(t, soon); code != 0 {
			t.Errorf("wait --for=create: exit code %d:\n%s", code, created.process.Output())
		}
		value := u.stays("wait", "--for=jsonpath={.data.state}=ready", "configmap/late", "--timeout=50s")
		u.does(`patched`, "patch", "configmap", "late", "-p", `{"data":{"state":"ready"}}`)
		if code := value.process.AwaitExit(t, soon); code != 0 {
			t.Errorf("wait --for=jsonpath: exit code %d:\n%s", code, value.process.Output())
		}
		gone := u.stays("wait", "--for=delete", "configmap/late", "--timeout=50s")
		u.does(`deleted`, "delete", "configmap", "late")
		if code := gone.process.AwaitExit(t, soon); code != 0 {
			t.Errorf("wait --for=delete: exit code %d:\n%s", code, gone.process.Output())
		}
		u.fails(1, "", `timed out|not found`, "wait", "--for=condition=Never", "serviceaccount/default", "--timeout=1s")
	})
}

// kubectl lists in chunks of 500.
func TestGetOfMoreThanAChunkIsWhole(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		var text strings.Builder
		for i := range 60 {
			fmt.Fprintf(&text, "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: item-%02d}}\n", i)
		}
		u.feeds(text.String(), `item-59 created`, "create", "-f", "-")
		if names := u.does(`item-00`, "get", "configmaps", "--chunk-size=7", "-o", "name"); strings.Count(names, "item-") != 60 {
			t.Errorf("60 objects in chunks of 7 are %d", strings.Count(names, "item-"))
		}
		if names := u.does(`item-00`, "get", "configmaps", "--sort-by=.metadata.name", "--no-headers"); strings.Count(names, "item-") != 60 {
			t.Errorf("60 objects sorted are %d", strings.Count(names, "item-"))
		}
		u.does(`(?s)item-00.*deleted`, "delete", "configmaps", "--all")
		u.does(`(?s)e2e-`, "get", "configmaps", "-A")
	})
}

func TestDrainCordonTaint(t *testing.T) {
	each(t, func(t *testing.T, u *user) {
		node := "node-" + u.to.Name
		u.feeds(`{apiVersion: v1, kind: Node, metadata: {name: `+node+`}}`, `created`, "create", "-f", "-")
		u.does(`cordoned`, "cordon", node)
		u.does(`SchedulingDisabled`, "get", "node", node)
		u.does(`uncordoned`, "uncordon", node)
		u.does(`tainted`, "taint", "node", node, "key=value:NoSchedule")
		u.does(`drained`, "drain", node, "--timeout=40s")
		u.does(`(?s)Taints: +.*key=value:NoSchedule`, "describe", "node", node)
		u.does(`deleted`, "delete", "node", node)
	})
}
