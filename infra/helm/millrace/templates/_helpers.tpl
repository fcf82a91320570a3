{{- define "millrace.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "millrace.labels" -}}
app.kubernetes.io/name: millrace
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "millrace.selector" -}}
app.kubernetes.io/name: millrace
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "millrace.instance" -}}
{{- .Values.settings.MILLRACE_INSTANCE | default (include "millrace.name" . | trunc 30 | trimSuffix "-") -}}
{{- end -}}

{{- define "millrace.sandboxNamespace" -}}
{{- .Values.sandboxes.namespace | default .Release.Namespace -}}
{{- end -}}

{{/* The labels that every sandbox of this release has: sandboxes/kubernetes/pod_names.py. */}}
{{- define "millrace.sandboxSelector" -}}
app.kubernetes.io/name: millrace-sandbox
app.kubernetes.io/managed-by: millrace
app.kubernetes.io/instance: {{ include "millrace.instance" . }}
{{- end -}}

{{- define "millrace.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* Everything in one place that a process needs to know: the ConfigMap, and what Secrets hold. */}}
{{- define "millrace.environment" -}}
envFrom:
  - configMapRef:
      name: {{ include "millrace.name" . }}
env:
{{- range $setting, $reference := .Values.secrets }}
  - name: {{ $setting }}
    valueFrom:
      secretKeyRef: {name: {{ $reference.name }}, key: {{ $reference.key }}}
{{- end }}
{{- end -}}

{{- define "millrace.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "millrace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "millrace.scratch" -}}
- name: scratch
  emptyDir: {sizeLimit: 64Mi}
{{- end -}}

{{- define "millrace.scratchMounts" -}}
- {name: scratch, mountPath: /tmp}
- {name: scratch, mountPath: /var/lib/millrace, subPath: data}
{{- end -}}

{{/* One of the three processes: a dict with root, component and values. */}}
{{- define "millrace.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "millrace.name" .root }}-{{ .component }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "millrace.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  {{- if not .scaled }}
  replicas: {{ .values.replicas }}
  {{- end }}
  {{- if not .probes }}
  # Nothing asks these whether they are ready: at an upgrade the old ones stay until the new have had time to begin.
  minReadySeconds: 20
  {{- end }}
  selector:
    matchLabels:
      {{- include "millrace.selector" . | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "millrace.labels" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
      annotations:
        checksum/settings: {{ include "millrace.settings" .root | sha256sum }}
    spec:
      serviceAccountName: {{ include "millrace.name" .root }}-{{ .component }}
      automountServiceAccountToken: {{ .needsApi }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: {{ .values.terminationGracePeriodSeconds | default 45 }}
      securityContext:
        {{- include "millrace.podSecurity" .root | nindent 8 }}
      {{- with .root.Values.image.pullSecrets }}
      imagePullSecrets:
        {{- range . }}
        - name: {{ . }}
        {{- end }}
      {{- end }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "millrace.selector" . | nindent 14 }}
      containers:
        - name: {{ .component }}
          image: {{ include "millrace.image" .root }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: [{{ .component }}]
          {{- include "millrace.environment" .root | nindent 10 }}
          {{- with .ports }}
          ports:
            {{- toYaml . | nindent 12 }}
          # Nodes hear of its end when it does: until they send new connections elsewhere it goes on.
          lifecycle: {preStop: {sleep: {seconds: 5}}}
          {{- end }}
          {{- with .probes }}
          {{- toYaml . | nindent 10 }}
          {{- end }}
          securityContext:
            {{- include "millrace.containerSecurity" .root | nindent 12 }}
          resources:
            {{- toYaml .values.resources | nindent 12 }}
          volumeMounts:
            {{- include "millrace.scratchMounts" .root | nindent 12 }}
            {{- range $number, $file := .root.Values.files }}
            - {name: files-{{ $number }}, mountPath: {{ $file.mountPath }}, readOnly: true}
            {{- end }}
      volumes:
        {{- include "millrace.scratch" .root | nindent 8 }}
        {{- range $number, $file := .root.Values.files }}
        - name: files-{{ $number }}
          secret: {secretName: {{ $file.secret }}, defaultMode: 0440}
        {{- end }}
      {{- with .values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with .values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}

{{/* The settings as the processes get them: those of the values, and those that the chart knows better. */}}
{{- define "millrace.settings" -}}
{{- $settings := dict "MILLRACE_SANDBOX" "kubernetes" "MILLRACE_INSTANCE" (include "millrace.instance" .) -}}
{{- $_ := set $settings "K8S_NAMESPACE" (include "millrace.sandboxNamespace" .) -}}
{{- $_ := set $settings "API_HOST" "0.0.0.0" -}}
{{- $_ := set $settings "API_PORT" "8000" -}}
{{- if .Values.redis.builtIn -}}
{{- $_ := set $settings "REDIS_HOST" (printf "%s-redis" (include "millrace.name" .)) -}}
{{- end -}}
{{- if .Values.nats.builtIn -}}
{{- $_ := set $settings "MILLRACE_TRANSPORT" "nats" -}}
{{- $_ := set $settings "NATS_URL" (printf "nats://%s-nats:4222" (include "millrace.name" .)) -}}
{{- end -}}
{{- range $name, $value := .Values.settings -}}
{{- if or (kindIs "map" $value) (and (kindIs "slice" $value) (eq $name "GKE_SANDBOX_CUSTOM_TOLERATIONS")) -}}
{{- $_ := set $settings $name (toJson $value) -}}
{{- else if kindIs "slice" $value -}}
{{- $_ := set $settings $name (join "," $value) -}}
{{- else if kindIs "float64" $value -}}
{{- $_ := set $settings $name (ternary (int64 $value | toString) (toString $value) (eq (float64 (int64 $value)) $value)) -}}
{{- else -}}
{{- $_ := set $settings $name (toString $value) -}}
{{- end -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}
