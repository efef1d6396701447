# Where a script works: `script PORT DATABASE pooled|direct`. What it prints must be the same at both.

require "pg"

PORT, DATABASE, PLACE = ARGV

# How many seconds it takes to give up.
PATIENCE = 30

# Returns once the console shows no client that keeps its server; what is left is asked behind a client's answer.
def nobody_is_pinned
  return unless PLACE == "pooled"

  console = PG.connect(host: "127.0.0.1", port: PORT, user: "alice", dbname: "pgbouncer", sslmode: "disable")
  clock = -> { Process.clock_gettime(Process::CLOCK_MONOTONIC) }
  till = clock.call + PATIENCE
  loop do
    pinned = console.exec("show clients").reject { |row| row.fetch("pinned").to_s.empty? }
    break if pinned.empty?
    raise "pinned: #{pinned}" if clock.call > till
  end

  console.close
end
