"""Jobs as the commands "run" and "work" do them. What a job is, the wing `jobs` knows."""
