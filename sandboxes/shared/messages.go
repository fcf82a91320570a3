package shared

// Command is one command line of a stage.
type Command struct {
	Stage    string            `json:"stage"`
	Argv     []string          `json:"argv"`
	Env      map[string]string `json:"env"`
	Cwd      string            `json:"cwd"`
	TimeoutS float64           `json:"timeout_s"`         // of all commands of the stage together
	Seccomp  []byte            `json:"seccomp,omitempty"` // of a runtime that waits: later would be too late for it
}

// Limits of one run; 0 is none, but for output.
type Limits struct {
	MemoryBytesMax int64   `json:"memory_bytes_max"`
	PidsMax        int     `json:"pids_max"`
	OpenFilesMax   uint64  `json:"open_files_max"`
	DiskBytesMax   uint64  `json:"disk_bytes_max"`
	OutputBytesMax int64   `json:"output_bytes_max"`
	FloodBytesMax  int64   `json:"flood_bytes_max"` // beyond the output's limit; then the code is killed
	CPUs           float64 `json:"cpus"`            // fewer than the container has
}

// Order is one run.
type Order struct {
	Commands []Command `json:"commands"`
	Order    string    `json:"order"` // for the runtime that waits; empty: it is not wanted
	Tools    bool      `json:"tools"`
	Limits   Limits    `json:"limits"`
	Seccomp  []byte    `json:"seccomp"`
}

// Ended says how a run ended: facts only, people's words are made elsewhere.
type Ended struct {
	Stage           string  `json:"stage"`
	Status          *int    `json:"status"`  // of wait(2); null if nothing ran to an end
	Stopped         string  `json:"stopped"` // why we ended it
	OOMKills        int     `json:"oom_kills"`
	WallS           float64 `json:"wall_s"`
	CPUS            float64 `json:"cpu_s"`
	MemoryBytesPeak int64   `json:"memory_bytes_peak"`
	StdoutBytes     int64   `json:"stdout_bytes"`
	StderrBytes     int64   `json:"stderr_bytes"`
	DroppedBytes    int64   `json:"dropped_bytes"`
}

// Tell notes the end of a command.
func (e *Ended) Tell(stage string, status int) { e.Stage, e.Status = stage, &status }

// Reasons to stop a run.
const (
	TimedOut    = "timed_out"
	Cancelled   = "cancelled"
	Flooded     = "flooded"
	OutOfMemory = "out_of_memory"
	TooMany     = "too_many_processes"
)

// Failed says why there was no run, or no end of it.
type Failed struct {
	Error   string `json:"error"`
	Message string `json:"message"`
}

// Greeting is the agent's first word.
type Greeting struct {
	Machine string `json:"machine"`
	Version string `json:"agent_version"`
}

// Readiness of a runtime that was started ahead.
type Readiness struct {
	Ready bool   `json:"ready"`
	Why   string `json:"why"`
}

// Version of both; told in the claim's answer.
const Version = "1"
