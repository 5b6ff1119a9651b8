// What is done once a frame, however often it is asked for.

/**
 * @param {() => void} act
 * @returns {() => void} has it done before the next frame
 */
export function beforeNextFrame(act) {
  let frame = 0;
  return () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      act();
    });
  };
}
