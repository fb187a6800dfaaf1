{{/* Names. */}}
{{- define "mlops.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = ternary .Release.Name (printf "%s-%s" .Release.Name .Chart.Name) (contains .Chart.Name .Release.Name) -}}
{{- end -}}
{{- if gt (len $name) 32 -}}
{{- fail (printf "%q is too long for a part of other names: set fullnameOverride to at most 32 characters" $name) -}}
{{- end -}}
{{- $name -}}
{{- end -}}

{{/* Service account of a part: (list $ "trainer"). */}}
{{- define "mlops.account" -}}
{{- $root := index . 0 -}}{{- $part := index . 1 -}}
{{- $account := (index $root.Values $part).serviceAccount -}}
{{- if and (not $account.create) (not $account.name) -}}
{{- fail (printf "%s.serviceAccount.name: name the account that exists, or set %s.serviceAccount.create" $part $part) -}}
{{- end -}}
{{- $account.name | default (printf "%s-%s" (include "mlops.fullname" $root) $part) -}}
{{- end -}}

{{/* Labels: (list $ "trainer") for a part, (list $ "") for none. */}}
{{- define "mlops.selector" -}}
{{- $root := index . 0 -}}{{- $part := index . 1 -}}
app.kubernetes.io/name: {{ $root.Chart.Name }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with $part }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "mlops.labels" -}}
{{- $root := index . 0 -}}
{{ include "mlops.selector" . }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of pods that a controller makes: nothing that changes with the chart, or an upgrade would restart them. */}}
{{- define "mlops.podLabels" -}}
{{- $root := index . 0 -}}
{{ include "mlops.selector" . }}
{{- with $root.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The artefact store's claim; empty where there is none. */}}
{{- define "mlops.claim" -}}
{{- $claim := .Values.artifacts.claim -}}
{{- if or $claim.create $claim.name -}}
{{- $claim.name | default (printf "%s-artifacts" (include "mlops.fullname" .)) -}}
{{- end -}}
{{- end -}}

{{/* An image: (list $ .Values.server.image "server.image"). */}}
{{- define "mlops.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}{{- $field := index . 2 -}}
{{- $repository := required (printf "%s.repository: name the repository that holds the image" $field) $image.repository -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What every pod is held to: (dict "user" 10001 "group" 10001). Pod Security Standard "restricted". */}}
{{- define "mlops.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 .user }}
runAsGroup: {{ int64 .group }}
fsGroup: {{ int64 .group }}
# A store of many files is not walked through at every start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "mlops.containerSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int64 .user }}
runAsGroup: {{ int64 .group }}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
privileged: false
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Where pods go and how they are pulled: (list $ .Values.server). */}}
{{- define "mlops.placement" -}}
{{- $root := index . 0 -}}{{- $part := index . 1 -}}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}

{{/* By the server's version, not by its list of APIs: a rendering without a cluster has no list of kinds. */}}
{{- define "mlops.isBefore121" -}}
{{- if semverCompare "<1.21-0" .Capabilities.KubeVersion.Version -}}true{{- end -}}
{{- end -}}

{{/* What moving traffic takes, by the kind of gateway: Leases that are there, and that kind of routed object. */}}
{{- define "mlops.rolloutRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, list, patch]
{{- if eq . "gateway_api" }}
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, patch]
{{- else if eq . "istio" }}
- apiGroups: [networking.istio.io]
  resources: [virtualservices]
  verbs: [get, patch]
{{- else if eq . "kserve" }}
- apiGroups: [serving.kserve.io]
  resources: [inferenceservices]
  verbs: [get, list, patch]
{{- else if eq . "argo_rollouts" }}
- apiGroups: [argoproj.io]
  resources: [rollouts]
  verbs: [get, list, patch]
- apiGroups: [argoproj.io]
  resources: [rollouts/status]
  verbs: [patch]
{{- else if eq . "replica_ratio" }}
- apiGroups: [""]
  resources: [services]
  verbs: [get, patch]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, patch]
{{- end }}
{{- end -}}
