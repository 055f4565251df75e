// A page that was opened from a file may start no worker, and the search runs in one. Here the
// worker's script runs in a hidden frame instead. Nothing happens on pages that come from a server.
class FrameWorker extends EventTarget {
  constructor(url) {
    super()
    const frame = document.createElement("iframe")
    frame.hidden = true
    document.body.appendChild(frame)
    this.frame = frame
    const inside = frame.contentWindow
    inside.postMessage = data =>
      this.dispatchEvent(new MessageEvent("message", { data: structuredClone(data) }))
    inside.importScripts = (...urls) =>
      urls.reduce((before, one) => before.then(() => this.add(one)), Promise.resolve())
    this.ready = this.add(String(url))
  }

  add(url) {
    return new Promise((resolve, reject) => {
      const script = this.frame.contentDocument.createElement("script")
      script.src = url
      script.onload = resolve
      script.onerror = reject
      this.frame.contentDocument.body.appendChild(script)
    })
  }

  postMessage(data) {
    this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })))
  }

  terminate() {
    this.frame.remove()
  }
}

if (location.protocol === "file:") window.Worker = FrameWorker
