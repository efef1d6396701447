# Where a script works: `script PORT DATABASE pooled|direct`. What it prints must be the same at both.

require "pg"

PORT, DATABASE, PLACE = ARGV

# Returns once the console shows no client that keeps its server; what is left is asked behind a client's answer.
def nobody_is_pinned
  return unless PLACE == "pooled"

  console = PG.connect(host: "127.0.0.1", port: PORT, user: "alice", dbname: "pgbouncer", sslmode: "disable")
  pinned = nil
  2000.times do
    pinned = console.exec("show clients").reject { |row| row["pinned"].to_s.empty? }
    break if pinned.empty?
  end
  raise "pinned: #{pinned}" unless pinned.empty?

  console.close
end
