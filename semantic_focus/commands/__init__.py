"""The shell: `semantic-focus masks | export | train | run | work | plan | fetch`. No algorithms."""
